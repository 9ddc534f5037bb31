"""Signatures that are missing, added or other than they should be, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attnexport.core import Signature, TensorSpec
from attnexport.parity.structure import differences

X, Y = TensorSpec("x", "float32", (None, 3)), TensorSpec("y", "float32", (None, 1))
SIGNATURE = Signature("s", (X,), (Y,))


@pytest.mark.parametrize(
    ("actual", "told"),
    [
        ({"s": SIGNATURE}, []),
        ({"s": replace(SIGNATURE, inputs=(X,), outputs=(Y,))}, []),
        ({}, [("s", "is missing; there is no signature")]),
        ({"S": SIGNATURE}, [("s", "is missing; there is 'S'"), ("S", "is not a signature that was exported")]),
        ({"s": replace(SIGNATURE, method="regress")}, [("s", "has method 'regress' instead of 'predict'")]),
        (
            {"s": replace(SIGNATURE, inputs=(replace(X, shape=(1, 3)),))},
            [("s", "input 'x' has shape [1, 3] instead of [?, 3]")],
        ),
        (
            {"s": replace(SIGNATURE, outputs=(replace(Y, dtype="int8"),))},
            [("s", "output 'y' has dtype int8 instead of float32")],
        ),
        (
            {"s": replace(SIGNATURE, outputs=(replace(Y, name="z"),))},
            [("s", "output 'y' is missing"), ("s", "output 'z' was not exported")],
        ),
    ],
)
def test_differences_are_named(actual: dict[str, Signature], told: list[tuple[str, str]]) -> None:
    assert list(differences([SIGNATURE], actual)) == told


def test_a_server_may_give_other_types_but_not_other_names() -> None:
    other = replace(SIGNATURE, inputs=(replace(X, dtype="int8", shape=(1, 3)),))
    assert not list(differences([SIGNATURE], {"s": other}, names_only=True))
    assert list(differences([SIGNATURE], {"t": other}, names_only=True))
