"""Signatures: checked when made, and against what is fed."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from attnexport.core import ArgumentError, Arrays, SamplesError, Signature, TensorSpec, batched
from attnexport.core.signature import check_name, dtype_name, usable_name

X = TensorSpec("x", "float32", (None, 3))
Y = TensorSpec("y", "float32", (None, 2))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "1a", "-a"])
def test_names_that_tensorflow_refuses_late_are_refused_at_once_or_made_usable(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"input name .* is not a usable name"):
        check_name(name, "input name")
    assert check_name(usable_name(name), "input name")


def test_a_signature_has_inputs_and_outputs_each_named_once() -> None:
    with pytest.raises(ArgumentError, match="has no output"):
        Signature("s", (X,), ())
    with pytest.raises(ArgumentError, match="names the input 'x' twice"):
        Signature("s", (X, X), (Y,))
    with pytest.raises(ArgumentError, match="'predict', 'classify' or 'regress'"):
        Signature("s", (X,), (Y,), "guess")  # type: ignore[arg-type]


def test_it_reads_as_a_function() -> None:
    assert str(Signature("s", (X,), (Y,))) == "s(x: float32 [?, 3]) -> (y: float32 [?, 2])"
    assert str(TensorSpec("z", "string", None)) == "z: string [...]"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "missing 'x'"),
        ({"x": np.zeros((1, 3), "f"), "z": np.zeros(1)}, "unknown 'z'"),
        ({"x": np.zeros((1, 3))}, "has dtype float64; float32 is expected"),
        ({"x": np.zeros((1, 4), "f")}, r"has shape \[1, 4\]; \[\?, 3\] is expected"),
        ({"x": np.zeros(3, "f")}, r"has shape \[3\]"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: Arrays, message: str) -> None:
    with pytest.raises(SamplesError, match=message):
        Signature("s", (X,), (Y,)).check_inputs(inputs)


def test_inputs_that_fit_pass() -> None:
    Signature("s", (X,), (Y,)).check_inputs({"x": np.zeros((5, 3), "f")})


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (np.array(["a"]), "string"),
        (np.array([b"a"]), "string"),
        (np.array([b"a"], object), "string"),
        (np.zeros(1, ml_dtypes.bfloat16), "bfloat16"),
        (np.zeros(1, bool), "bool"),
    ],
)
def test_dtypes_have_the_names_of_specs(array: Any, name: str) -> None:
    assert dtype_name(array) == name


class _Doubler:
    """Doubles its input and records the batches that it was given."""

    def __init__(self, batch: int | None) -> None:
        self.signatures = {
            "serving_default": Signature("serving_default", (TensorSpec("x", "float32", (batch, 1)),), (Y,))
        }
        self.batches: list[int] = []

    def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
        self.batches.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize(
    ("fixed", "batch_size", "batches"),
    [(None, None, [7]), (None, 3, [3, 3, 1]), (4, None, [4, 4]), (1, None, [1] * 7), (10, None, [10])],
)
def test_any_number_of_samples_goes_through_any_batch(
    fixed: int | None, batch_size: int | None, batches: list[int]
) -> None:
    runner = _Doubler(fixed)
    x = np.arange(7, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(batched(runner, {"x": x}, batch_size=batch_size)["y"], x * 2)
    assert runner.batches == batches


class _Unbatched:
    """Gives a constant, a total and a doubled batch: outputs with no batch, a batch, and one that is not declared."""

    def __init__(self, batch: int | None) -> None:
        x = TensorSpec("x", "float32", (batch, 1))
        outputs = {"names": ("string", (3,)), "y": ("float32", (batch, 1)), "twice": ("float32", None)}
        specs = tuple(TensorSpec(name, *each) for name, each in outputs.items())
        self.signatures = {"all": Signature("all", (x,), specs)}
        total = (TensorSpec("total", "float32", (2,)), specs[1])
        self.signatures["total"] = Signature("total", (x,), total)
        self.signatures["twice"] = Signature("twice", (x,), specs[2:])

    def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
        x = inputs["x"]
        if signature == "total":
            return {"total": np.full(2, x.sum()), "y": 2 * x}
        twice = np.concatenate([x, x])
        return {"twice": twice} if signature == "twice" else {"names": np.array([b"a", b"b", b"c"]), "y": 2 * x}

    def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize(("fixed", "size"), [(None, None), (None, 2), (1, None), (2, None), (3, None), (6, None)])
def test_outputs_without_a_batch_are_never_cut(fixed: int | None, size: int | None) -> None:
    for count in (1, 2, 6):
        x, runner = np.arange(count, dtype=np.float32)[:, None], _Unbatched(fixed)
        fills = fixed is None or count % fixed == 0
        if not fills and fixed != 3:  # of 3 the names look like a batch, and nothing tells otherwise
            with pytest.raises(SamplesError, match=r"'names' of 'all' has shape .* send a multiple"):
                batched(runner, {"x": x}, signature="all", batch_size=size)
        elif fixed != 3:
            outputs = batched(runner, {"x": x}, signature="all", batch_size=size)
            assert outputs["names"].tolist() == [b"a", b"b", b"c"]
            np.testing.assert_array_equal(outputs["y"], 2 * x)
        in_one = count <= (fixed or size or count)
        if fixed not in (2, None) and in_one and fills:
            assert batched(runner, {"x": x}, signature="total")["total"].tolist() == [x.sum()] * 2
        if not in_one and fixed == 1:
            with pytest.raises(SamplesError, match=r"'total' of 'total' .* differs from part to part"):
                batched(runner, {"x": x}, signature="total")


def test_an_output_that_is_longer_than_the_batch_is_whole_or_refused() -> None:
    x = np.arange(4, dtype=np.float32)[:, None]
    assert len(batched(_Unbatched(None), {"x": x}, signature="twice")["twice"]) == 8
    with pytest.raises(SamplesError, match="cannot be joined"):
        batched(_Unbatched(None), {"x": x}, signature="twice", batch_size=2)


def test_inputs_of_different_first_dimensions_are_no_batch() -> None:
    specs = [TensorSpec("values", "float32", (None,)), TensorSpec("shape", "int64", (2,))]
    assert not Signature("sparse", tuple(specs), (Y,)).is_batched
    assert Signature("plain", tuple(specs[:1]), (Y,)).is_batched
    fixed = Signature("fixed", (TensorSpec("x", "float32", (1, 2)),), (Y, TensorSpec("n", "string", (3,))))
    assert fixed.is_batched
    assert [spec.shape for spec in fixed.with_free_batch().outputs][1] == (3,)


def test_batching_nothing_or_an_unknown_signature_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="at least one"):
        batched(_Doubler(None), {"x": np.zeros((0, 1), "f")})
    with pytest.raises(ArgumentError, match="did you mean 'serving_default'"):
        batched(_Doubler(None), {"x": np.zeros((1, 1), "f")}, signature="serving_defautl")
