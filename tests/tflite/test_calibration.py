"""Calibration data and the ranges derived from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnexport.core import ArgumentError, Arrays, ModelError, SamplesError, Signature, TensorSpec
from attnexport.core.runner import batched
from attnexport.core.samples import Samples
from attnexport.parity import Case, budget_of, evaluate
from attnexport.tflite import RECIPES, Prepared, TFLiteRunner, prepare_calibration, read_calibration
from attnexport.tflite.calibration import MAX_SAMPLES
from attnexport.tflite.graph import Graph
from attnexport.tflite.quantization import quantize
from attnexport.tflite.recipes.recipe import CALIBRATORS
from attnexport.tflite.statistics import TensorStatistics, check_finite, collect_statistics, ranges

pytestmark = pytest.mark.slow

SPEC = [TensorSpec("x", "float32", (1, 3))]


def data(n: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((n, 3)).astype(np.float32)


@settings(max_examples=30)
@given(st.permutations(range(25)), st.lists(st.integers(0, 24), max_size=20))
def test_order_and_repetition_change_nothing(order: list[int], repeated: list[int]) -> None:
    rows = data(25)
    plain = prepare_calibration(Samples({"x": rows}), SPEC)
    other = prepare_calibration(Samples({"x": rows[[*order, *repeated]]}), SPEC)
    np.testing.assert_array_equal(plain.used["x"], other.used["x"])
    np.testing.assert_array_equal(plain.held_out["x"], other.held_out["x"])
    assert plain.content_hash == other.content_hash


def test_every_fifth_sample_is_held_out() -> None:
    found = prepare_calibration(Samples({"x": data(100)}), SPEC)
    assert (len(found), len(found.held_out["x"])) == (80, 20)
    assert not {row.tobytes() for row in found.used["x"]} & {row.tobytes() for row in found.held_out["x"]}
    assert found.notes == ()


def test_few_and_many_samples_are_told() -> None:
    few = prepare_calibration(Samples({"x": data(3)}), SPEC)
    assert len(few) == len(few.held_out["x"]) == 3
    assert "only 3 distinct samples; 200 and more" in few.notes[0]
    assert few.description == "samples, also used to calibrate"
    assert (
        prepare_calibration(Samples({"x": data(50)}), SPEC, synthetic=True).description == "held-out synthetic samples"
    )
    [doubt] = prepare_calibration(Samples({"x": data(50)}), SPEC).doubts("int8")
    assert "int8: ranges come from 40 samples and the verdict from 10. About 1 in 41 later samples will exceed" in doubt
    many = prepare_calibration(Samples({"x": data(MAX_SAMPLES + 10)}), SPEC)
    assert len(many) + len(many.held_out["x"]) == MAX_SAMPLES
    assert f"uses {MAX_SAMPLES} of {MAX_SAMPLES + 10}" in many.notes[0]
    assert many.doubts("int8") == few.doubts("int8") == []


def test_evaluation_samples_among_them_are_told() -> None:
    rows = data(60)
    evaluation = Samples({"x": np.concatenate([rows[:7], data(5, seed=9)])})
    assert "7 of 12 evaluation samples" in prepare_calibration(Samples({"x": rows}), SPEC, evaluation).notes[0]


def batches() -> Iterator[Any]:
    for start in range(0, 40, 8):
        yield {"x": data(40)[start : start + 8]}


def test_a_python_iterable_of_batches_is_taken() -> None:
    np.testing.assert_array_equal(read_calibration(batches(), SPEC).inputs["x"], data(40))
    np.testing.assert_array_equal(read_calibration((each["x"] for each in batches()), SPEC).inputs["x"], data(40))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"y": data(9)}, "holds 'y', but the inputs are 'x'"),
        ({"x": np.ones((9, 3), np.int32)}, "has dtype int32; float32 is expected"),
        ({"x": np.ones(3, np.float32)}, "the batch dimension is missing"),
        ({"x": np.ones((9, 4), np.float32)}, "has shape [9, 4]; [?, 3] is expected"),
        ({"x": np.full((9, 3), np.nan, np.float32)}, "holds NaN or infinity at [0, 0]"),
        ({"x": np.empty((0, 3), np.float32)}, "holds no samples"),
        (iter([]), "the iterable yields no batch"),
        ([{"x": data(2)}, {"y": data(2)}], "different names"),
        ([data(2), np.ones((2, 5), np.float32)], "do not fit together"),
    ],
)
def test_each_fault_has_its_message(source: Any, told: str) -> None:
    with pytest.raises(SamplesError) as caught:
        read_calibration(source, SPEC)
    assert told in str(caught.value)


def test_other_kinds_of_source_and_constant_data_are_refused() -> None:
    with pytest.raises(ArgumentError, match="received int"):
        read_calibration(3, SPEC)  # type: ignore[arg-type]
    with pytest.raises(SamplesError, match=r"'x' is 2\.0 throughout"):
        prepare_calibration(Samples({"x": np.full((9, 3), 2, np.float32)}), SPEC)
    mask = TensorSpec("mask", "float32", (1, 3))
    both = prepare_calibration(Samples({"x": data(40), "mask": np.ones((40, 3), np.float32)}), [*SPEC, mask])
    assert both.notes == ("calibration: 'mask' is 1.0 throughout",)


def test_float64_is_cast_with_a_word() -> None:
    found = read_calibration({"x": data(40).astype(np.float64)}, SPEC)
    assert found.inputs["x"].dtype == np.float32
    assert "cast from float64" in prepare_calibration(found, SPEC).notes[0]


def statistics_of(samples: np.ndarray[Any, Any]) -> TensorStatistics:
    bins = samples.reshape(-1).view(np.uint32) >> 16
    counts = np.bincount(bins, minlength=1 << 16).astype(np.uint32)
    return TensorStatistics([float(each.min()) for each in samples], [float(each.max()) for each in samples], counts)


@pytest.mark.parametrize("share", [99.99, 99.9])
def test_percentiles_are_numpys_to_the_width_of_a_bin(share: float) -> None:
    values = np.random.default_rng(0).standard_t(3, (50, 2000)).astype(np.float32)
    low, high = statistics_of(values).range_by(f"percentile-{share}")
    rest = (100 - share) / 2
    expected = np.quantile(values.astype(np.float64), [rest / 100, 1 - rest / 100])
    np.testing.assert_allclose([low, high], expected, rtol=0.02)  # bins are 1/128 of their values wide
    assert values.min() <= low < high <= values.max()


def test_min_max_and_moving_average() -> None:
    values = np.array([[0.0, 4.0], [-2.0, 1.0]], np.float32)
    found = statistics_of(values)
    assert found.range_by("minmax") == (-2.0, 4.0)
    assert found.range_by("minmax-wide") == (-2.5, 5.0)
    assert found.range_by("minmax-double") == (-4.0, 8.0)
    assert found.range_by("moving-average") == pytest.approx((-0.05 * 2, 0.95 * 4 + 0.05))


def test_ranges_are_those_of_the_activations(conversions: dict[str, Any], samples: Any, multi_head: Any) -> None:
    """The input's and the output's, and the attention weights', known without any interpreter."""
    found = ranges(
        collect_statistics(conversions["float32"].content, {"serving_default": {"sequence": samples}}), "minmax"
    )
    inputs = next(each for name, each in found.items() if "sequence" in name)
    assert inputs == (samples.min(), samples.max())
    logits = multi_head.predict(samples, verbose=0)
    outputs = next(each for name, each in found.items() if name.startswith("StatefulPartitionedCall"))
    np.testing.assert_allclose(outputs, (logits.min(), logits.max()), rtol=1e-4)
    weights = next(each for name, each in found.items() if "weights/Softmax" in name)
    assert 0 <= weights[0] < weights[1] <= 1


def test_ranges_that_the_quantizer_would_write_blindly_are_refused(conversions: dict[str, Any]) -> None:
    """It writes NaN into a file that crashes the interpreter."""
    with pytest.raises(ModelError, match=r"the range nan to 1\.0 for tensor 'x', which is not finite"):
        quantize(conversions["float32"].content, RECIPES["int8"], {"x": (float("nan"), 1.0)})
    huge = np.full((1, 12, 16), 3e38, np.float32)
    statistics = collect_statistics(conversions["float32"].content, {"serving_default": {"sequence": huge}})
    check_finite(statistics, {"sequence"})  # what stays float may be anything
    with pytest.raises(SamplesError, match="computes NaN or infinity in tensor"):
        check_finite(statistics, statistics)


@pytest.mark.parametrize("tails", ["light", "heavy"])
def test_auto_takes_the_calibrator_that_is_best_on_held_out_samples_but_for_what_headroom_costs(
    tails: str, to_tflite: Callable[..., Any], multi_head: Any, samples: Any
) -> None:
    given = samples.copy()
    if tails == "heavy":
        given[::7, 3, 5] *= 60
    int8 = RECIPES["int8"].altered(min_sqnr_db=-100)
    each = [
        replace(int8.altered(calibrator=calibrator), name=calibrator.replace(".", "_")) for calibrator in CALIBRATORS
    ]
    found = to_tflite(multi_head, [int8, *each], given)
    chosen = found.pop("int8")
    calibration = prepare_calibration(Samples({"sequence": given}), [TensorSpec("sequence", "float32", (1, 12, 16))])
    measured = np.concatenate([calibration.held_out["sequence"], calibration.used["sequence"][:48]])
    expected = multi_head.predict(measured, verbose=0)
    figures = {}
    for name, conversion in found.items():
        [actual] = batched(TFLiteRunner(conversion.content), {"sequence": measured}).values()
        figures[name] = evaluate(expected, actual, step=budget_of("int8").step)
    # Those first that lose no column, which needs 10 dB.
    ranks = {name: (min(each.columns.sqnr_db - 10, 0), each.sqnr_db) for name, each in figures.items()}
    column, sqnr_db = max(ranks.values())
    near = [name for name, rank in ranks.items() if rank >= (column, sqnr_db - 2 * (1 - 16 / 64))]
    widest = max(near, key=lambda name: ({"minmax": 1, "minmax-wide": 2, "minmax-double": 3}.get(name, 0), ranks[name]))
    assert chosen.calibrator.replace(".", "_") == widest
    assert len({each.sqnr_db for each in figures.values()}) > 1


class Double:
    """Runs 2x."""

    signatures: ClassVar = {"serving_default": Signature("serving_default", tuple(SPEC), tuple(SPEC))}

    def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
        return {"x": 2 * inputs["x"]}

    def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize(("count", "held_out", "measured"), [(3, 3, 3), (50, 10, 50), (120, 24, 64), (400, 80, 64)])
def test_ranges_are_measured_on_more_samples_if_few_are_held_out(count: int, held_out: int, measured: int) -> None:
    calibration = prepare_calibration(Samples({"x": data(count)}), SPEC)
    inputs = {"x": calibration.held_out["x"]}
    case = Case("held-out", inputs, "serving_default", {"x": 2 * inputs["x"]})
    prepared = Prepared(b"", Graph((), {}, None), calibration, Double(), Double.signatures, (case,))
    [found] = prepared.cases_of_ranges
    assert len(inputs["x"]) == held_out
    assert len({row.tobytes() for row in found.inputs["x"]}) == len(found.inputs["x"]) == measured
    np.testing.assert_array_equal(found.inputs["x"][: min(held_out, 64)], inputs["x"][:64])
    assert found.expected is not None
    np.testing.assert_array_equal(found.expected["x"], 2 * found.inputs["x"])


def test_only_what_was_chosen_is_told(conversions: dict[str, Any]) -> None:
    assert conversions["int4"].weight_algorithm == "gptq"
    assert conversions["float16"].calibrator is None
    assert conversions["float16"].weight_algorithm is None


ONE = [TensorSpec("x", "float32", (1, 3))]
TWO = [TensorSpec("a", "float32", (1, 3)), TensorSpec("b", "float32", (1, 5))]


@pytest.mark.parametrize(
    ("source", "specs", "shapes"),
    [
        ([(data(8), np.zeros(8)), (data(8), np.zeros(8))], ONE, {"x": (16, 3)}),
        ([({"x": data(8)}, np.zeros(8))], ONE, {"x": (8, 3)}),
        ([(data(1)[0], 3), (data(1)[0], 4)], ONE, {"x": (2, 3)}),
        ([[data(1)], [data(1)]], ONE, {"x": (2, 3)}),
        (lambda: iter([[data(1)], [data(1)]]), ONE, {"x": (2, 3)}),
        (list(data(4)), ONE, {"x": (4, 3)}),
        ([[data(2), np.ones((2, 5), np.float32)]], TWO, {"a": (2, 3), "b": (2, 5)}),
        ([((data(2), np.ones((2, 5), np.float32)), np.zeros(2))], TWO, {"a": (2, 3), "b": (2, 5)}),
        ([data(2), np.ones((2, 5), np.float32)], TWO, {"a": (2, 3), "b": (2, 5)}),
    ],
    ids=["x, y", "dict, y", "one sample, y", "[x]", "function", "samples", "[a, b]", "(a, b), y", "two arrays"],
)
def test_calibration_is_taken_as_fit_and_the_converter_take_it(
    source: Any, specs: list[TensorSpec], shapes: dict[str, tuple[int, ...]]
) -> None:
    read = read_calibration(source, specs)
    assert {name: array.shape for name, array in read.inputs.items()} == shapes
