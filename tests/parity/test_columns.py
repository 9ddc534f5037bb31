"""The rule of columns: no false alarm on what is good, no false pass on what is lost, and an independent formula."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from attnexport.parity import Limits, Tally, budget_of, judge

Array = np.ndarray
SEEDS = (101, 202, 303)
STEP = budget_of("int8").step


def tally_of(expected: Array, actual: Array, parts: int = 3, step: float = STEP) -> Tally:
    tally = Tally(step=step)
    cuts = np.array_split(np.arange(len(expected)), min(parts, len(expected)))
    for part in cuts:
        tally.add(expected[part].astype(np.float32), actual[part].astype(np.float32))
    return tally


def softmax(x: Array) -> Array:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def eight_bits(x: Array) -> Array:
    """The values of one int8 tensor, whose range has to hold 0."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    step = (high - low) / 255
    return np.asarray(np.round((x - low) / step) * step + low)


def off(random: np.random.Generator, x: Array, db: float) -> Array:
    """With noise of this SQNR everywhere alike."""
    return np.asarray(x + random.normal(size=x.shape) * math.sqrt((x**2).mean()) * 10 ** (-db / 20))


def classifier(random: np.random.Generator, classes: int, samples: int) -> Array:
    """Logits as of a trained classifier; with ten classes the last are rare."""
    shares = np.r_[0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.008, 0.002] if classes == 10 else None
    labels = random.choice(classes, samples, p=shares)
    logits = random.normal(size=(samples, classes)) * 1.5 + (random.normal(size=(classes, classes)) * 1.5)[labels]
    logits[np.arange(samples), labels] += 12
    return logits


def masked(random: np.random.Generator, mask: float) -> tuple[Array, Array]:
    scores, allowed = random.normal(size=(100, 6, 16)) * 0.5, random.random((100, 6, 16)) < 0.6
    allowed[..., 0] = True
    return np.where(allowed, scores, mask if mask < -1e8 else mask + scores), allowed


def good(seed: int) -> Iterator[tuple[str, Array, Array]]:
    random = np.random.default_rng(seed)
    for classes in (10, 100):
        for db in (28.0, 34.0):
            logits = classifier(random, classes, 60)
            noisy = off(random, logits, db)
            for name, function in (
                ("logits", lambda x: x),
                ("softmax", softmax),
                ("sigmoid", lambda x: sigmoid(x - 6)),
            ):
                yield f"{classes} {name} {db}", function(logits), function(noisy)
            yield f"{classes} softmax in int8 {db}", softmax(logits), np.round(softmax(noisy) * 256) / 256
    walk = np.cumsum(random.normal(size=(60, 12, 64)), axis=1) * 0.3 + random.normal(size=64)
    states = np.tanh(walk * np.exp(random.normal(size=64) * 0.7)) * sigmoid(random.normal(size=walk.shape))
    yield "LSTM's steps", states, off(random, states, 30)
    yield "LSTM's last", states[:, -1], off(random, states, 30)[:, -1]
    for samples in (20, 60):
        inner = random.normal(size=(samples, 64)) * np.exp(random.normal(size=64) * 0.5) + random.normal(size=64) - 0.5
        yield f"ReLU {samples}", np.maximum(inner, 0), np.maximum(off(random, inner, 30), 0)
    boxes, scores = sigmoid(random.normal(size=(60, 16, 4))) * 640, sigmoid(random.normal(size=(60, 16, 8)))
    detections = np.concatenate([boxes, scores], axis=-1)
    yield "detections", detections, np.concatenate([off(random, boxes, 30), off(random, scores, 30)], axis=-1)
    targets = random.normal(size=(60, 2)) * [1, 1000]
    yield "two units", targets, targets * (1 + random.normal(size=targets.shape) * 0.05)
    offset = 300 + 2.5 * random.normal(size=(60, 1))
    yield "one column", offset, eight_bits(offset)
    yield "no column", offset[:, 0], eight_bits(offset)[:, 0]
    for mask in (-3.4e38, -1e9, -65504.0, -3e4, -1e4):
        values, allowed = masked(random, mask)
        yield f"masked by {mask}", values, np.where(allowed, off(random, np.where(allowed, values, 0), 30), mask)
    image = random.random((6, 16, 16, 3))
    yield "image", image, off(random, image, 28)
    segments = sigmoid(np.cumsum(np.cumsum(random.normal(size=(6, 16, 16)), axis=1), axis=2))
    yield "last axis is width", segments, off(random, segments, 34)
    series = np.cumsum(random.normal(size=(60, 24)), axis=1)
    yield "last axis is time", series, off(random, series, 28)
    real = (np.arange(12) < random.integers(2, 12, 60)[:, None])[..., None]
    steps = np.where(real, 300 + 2.5 * random.normal(size=(60, 12, 4)), 0)
    yield "padded", steps, np.where(real, steps + 0.3 * random.normal(size=steps.shape), 0)
    flat = softmax(random.normal(size=(60, 4, 10, 10)) * 0.1)
    yield "flat attention in int8", flat, np.round(flat * 256) / 256
    plain = softmax(random.normal(size=(60, 5)) * 0.05 + random.normal(size=5) * 0.3)
    yield "untrained softmax in int8", plain, np.round(plain * 256) / 256
    yield "ties", np.ones((60, 4)).cumsum(axis=0) % 3, np.ones((60, 4)).cumsum(axis=0) % 3 + 0.05
    yield "one sample", *random.normal(size=(2, 1, 10))
    yield "constants", np.full((60, 3), [0.07, 300, 0]), np.full((60, 3), [0.08, 301, 0.01])
    yield "zero", np.zeros((60, 3)), np.full((60, 3), 1e-3)


def lost(seed: int) -> Iterator[tuple[str, Array, Array]]:
    random = np.random.default_rng(seed)
    for classes in (10, 100):
        logits = classifier(random, classes, 60)
        labels = logits.argmax(axis=1)
        common = int(np.bincount(labels).argmax())
        for name, scores in (("logits", logits), ("softmax", softmax(logits))):
            gone = scores.copy()
            gone[:, common] = 0
            yield f"{classes} {name}, one class 0", scores, gone
    boxes, scores = sigmoid(random.normal(size=(60, 16, 4))) * 640, sigmoid(random.normal(size=(60, 16, 8)))
    detections = np.concatenate([boxes, scores], axis=-1)
    yield "detections in one scale", detections, eight_bits(detections)
    first = np.swapaxes(detections, 1, 2)
    yield "detections, channels first", first, eight_bits(first)
    targets = random.normal(size=(60, 2)) * [1, 1000]
    yield "two units in one scale", targets, eight_bits(targets)
    near = random.normal(size=(60, 2)) * [1, 9]
    yield "two units that are near", near, near * [0, 1]
    offset = 300 + 2.5 * random.normal(size=(60, 1))
    yield "far from zero, constant", offset, np.full_like(offset, 300)
    yield "far from zero, 8 dB", offset, offset + random.normal(size=offset.shape) * offset.std() * 10 ** (-8 / 20)
    yield "a vector, constant", offset[:, 0], np.full(60, 300.0)
    for mask in (-3.4e38, -1e9, -65504.0, -3e4, -1e4):
        values, allowed = masked(random, mask)
        yield f"masked by {mask}, the others 0", values, np.where(allowed, 0, mask)
    real = (np.arange(12) < random.integers(2, 12, 60)[:, None])[..., None]
    steps = np.where(real, 300 + 2.5 * random.normal(size=(60, 12, 4)), 0)
    yield "padded, the others constant", steps, np.where(real, np.full(steps.shape, 300), 0)
    image = random.random((6, 16, 16, 3))
    yield "a channel of an image", image, np.stack([image[..., 0], np.full(image.shape[:-1], 0.5), image[..., 2]], -1)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_good_is_called_lost(seed: int) -> None:
    alarms = {}
    for name, expected, actual in good(seed):
        columns = tally_of(expected, actual).result().columns
        assert columns is not None, name
        assert columns.judged + sum(count for _, count in columns.not_judged) == columns.count, name
        if columns.sqnr_db < 10 or columns.masked_otherwise:
            alarms[name] = columns
    assert not alarms


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_lost_passes(seed: int) -> None:
    passed = []
    for name, expected, actual in lost(seed):
        measured = tally_of(expected, actual).result()
        if judge(measured, "int8", Limits()):
            passed.append((name, measured.columns))
    assert not passed


def by_hand(expected: Array, actual: Array) -> tuple[int | None, float]:
    """The worst column and its SQNR, in plain Python; without masks, padding and what lies within 0 and 1."""
    found = []
    columns = [(expected[..., j].ravel().tolist(), actual[..., j].ravel().tolist()) for j in range(expected.shape[-1])]
    stats = []
    for right, other in columns:
        mean = math.fsum(right) / len(right)
        second = math.fsum((x - mean) ** 2 for x in right)
        fourth = math.fsum((x - mean) ** 4 for x in right)
        noise = math.fsum((x - y) ** 2 for x, y in zip(right, other, strict=True)) / len(right)
        varies = second / len(right) > (1e-6 * max(map(abs, right))) ** 2
        stats.append((second / len(right), varies and second**2 / fourth >= 4 - 1e-9, varies, noise))
    for j, (variance, enough, varies, noise) in enumerate(stats):
        near = [v for v, ok, _, _ in stats if ok and variance / 100 <= v <= variance * 100]
        lent = math.fsum(near) / len(near) if near else 0.0
        if not varies or not (enough or near):
            continue
        signal = max(variance, min(lent, 3 * variance) if enough else lent)
        found.append((math.inf if noise == 0 else 10 * math.log10(signal / noise), j))
    sqnr, worst = min(found, default=(math.inf, None))
    return worst, sqnr


@pytest.mark.parametrize("seed", range(12))
def test_figures_are_those_of_a_plain_formula(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(2, 40)), int(random.integers(1, 9)))
    expected = random.normal(size=shape) * np.exp(random.normal(size=shape[-1]) * 2) + random.normal(size=shape[-1]) * 9
    expected = np.where(random.random(shape) < 0.3 * (seed % 3), expected.max(), expected).astype(np.float32)
    actual = (expected + random.normal(size=shape) * 0.1).astype(np.float32)
    columns = tally_of(expected, actual, parts=1 + seed % 4).result().columns
    assert columns is not None
    worst, sqnr = by_hand(expected.astype(np.float64), actual.astype(np.float64))
    assert columns.worst == worst
    assert columns.sqnr_db == pytest.approx(sqnr, abs=1e-6)


def test_a_softmax_lends_to_the_classes_without_a_sample() -> None:
    """Classes that no sample has vary a thousandth of the others; none is lost if their small values are."""
    random = np.random.default_rng(5)
    logits = classifier(random, 100, 60)
    scores = softmax(logits).astype(np.float32)
    others = (np.round(scores * 256) / 256).astype(np.float32)
    columns = tally_of(scores, others, step=0).result().columns
    assert columns is not None
    assert (columns.judged, columns.count) == (100, 100)
    right, other = scores.astype(np.float64), others.astype(np.float64)
    noise, own = np.square(right - other).mean(axis=0), right.var(axis=0)
    found = 10 * np.log10(np.maximum(own, own.mean()) / noise)
    assert (columns.worst, columns.sqnr_db) == (found.argmin(), pytest.approx(found.min(), abs=1e-6))
    assert (10 * np.log10(own / noise) < 10).any()


@pytest.mark.parametrize(
    ("expected", "reasons"),
    [
        (np.ones((60, 3)), {"constant": 3}),
        (np.random.default_rng(0).normal(size=(1, 3)), {"one sample": 3}),
        (np.eye(60)[:, :3], {"too few samples vary": 3}),
        (np.full((8, 2), -1e9) + np.array([1e9, 0]) * np.arange(8)[:, None] % 2e9, {"masked or padded": 1}),
    ],
)
def test_what_is_not_judged_is_said(expected: Array, reasons: dict[str, int]) -> None:
    columns = tally_of(expected * 2, expected * 2 + 0.25).result().columns
    assert columns is not None
    found = dict(columns.not_judged)
    assert {name: found.get(name) for name in reasons} == reasons
    assert columns.why_not_judged.startswith(f"{columns.count - columns.judged} of {columns.count} columns not judged")


def test_values_that_are_masked_otherwise_are_a_failure() -> None:
    random = np.random.default_rng(1)
    values, allowed = masked(random, -1e9)
    fewer = allowed & (random.random(allowed.shape) < 0.9)
    measured = tally_of(values, np.where(fewer, values, -1e9)).result()
    count = int((allowed & ~fewer).sum())
    for precision in ("float32", "int8"):
        problems = judge(measured, precision, Limits(min_sqnr_db=-1000)).problems
        assert f"{count} values are masked in one of both and not in the other" in problems[-1]


def test_a_column_far_below_zero_is_not_a_mask() -> None:
    depth = np.random.default_rng(0).normal([-5000, 0], [4, 1], (60, 2))
    columns = tally_of(depth, np.stack([np.full(60, -5000.0), depth[:, 1]], axis=1)).result().columns
    assert columns is not None
    assert (columns.masked, columns.place) == (0, "column 0")
    assert columns.sqnr_db < 1


class Still:
    """An original that does not move."""

    def __init__(self, outputs: Array, moved: Array | None = None) -> None:
        self._both = outputs, outputs if moved is None else moved

    def of(self, output: str) -> float:
        return float(np.abs(self._both[1] - self._both[0]).max())

    def unmoved(self, output: str) -> float:
        return 0.0

    def moved(self, output: str) -> tuple[Array, Array]:
        return self._both


def float32_problems(expected: Any, actual: Any, moved: Any = None) -> tuple[str, ...]:
    tally = tally_of(expected, actual)
    return judge(tally.result(), "float32", noise=Still(expected, moved), columns=tally.columns).problems


def test_float32_holds_each_column_to_its_own_scale() -> None:
    random = np.random.default_rng(3)
    scores, allowed = masked(random, -1e9)
    other = np.where(allowed, random.normal(size=scores.shape), -1e9)
    assert judge(tally_of(scores, other).result(), "float32")  # the whole alone allows 1e4
    assert "more: max error" in float32_problems(scores, other)[0]
    weights = np.where(allowed, scores * 1.001, -1e9)
    assert float32_problems(scores, weights)
    assert not float32_problems(scores, np.where(allowed, scores * (1 + 2e-6), -1e9))
    detections = random.random((60, 6)) * [640, 640, 640, 640, 1, 1]
    assert "column 4" in float32_problems(detections, detections + np.array([0, 0, 0, 0, 1e-3, 0]))[0]
    assert not float32_problems(detections, detections + 6e-7)
    assert not float32_problems(detections, detections + 1e-3, detections + 1e-3)


def test_a_user_who_asks_for_less_gets_less_from_columns_too() -> None:
    expected = np.random.default_rng(0).normal(size=(60, 2)) * [1, 1000]
    measured = tally_of(expected, eight_bits(expected)).result()
    assert "column 0 has SQNR" in judge(measured, "int8").problems[0]
    assert judge(measured, "int8", Limits(min_sqnr_db=-50))
    tally = Tally(rtol=1.0, atol=1000.0)
    tally.add(expected, eight_bits(expected))
    assert judge(tally.result(), "int8", Limits(rtol=1.0, atol=1000.0))
