"""Products with a matrix, traced so that a graph asks for nothing that is known beforehand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import tensorflow as tf

_tensordot = tf.tensordot
_tracing = threading.RLock()  # or the one that ends last would put back what the other had put there


@contextmanager
def plain_products() -> Iterator[None]:
    """Within it, what `keras.layers.Dense` makes of inputs `[n, steps, features]` is two reshapes around a product.

    Keras calls tf.tensordot, which computes the shapes around its product at run time where the batch is free: ten
    small operators more for each layer, which take a small model as long as all its products. The numbers are the
    same to the last bit, and TFLite's converter makes the same of both.
    """
    with _tracing, mock.patch.object(tf, "tensordot", _product):
        yield


def _product(a: Any, b: Any, axes: Any, name: str | None = None) -> Any:
    """tf.tensordot; a plain product where it is one of a's last dimension with a matrix, and one size is unknown."""
    if _of_last_and_first(axes) and name is None:
        matrix = tf.convert_to_tensor(b)
        left = tf.convert_to_tensor(a, dtype_hint=matrix.dtype)
        if left.shape.rank is not None and left.shape.rank > 2 and matrix.shape.rank == 2:
            *sizes, depth = left.shape
            # Where another size is 0, a reshape could not tell the unknown one.
            if sizes.count(None) == 1 and 0 not in sizes and depth and matrix.shape[1]:
                flat = tf.matmul(tf.reshape(left, [-1, depth]), matrix)
                return tf.reshape(flat, [*(-1 if size is None else size for size in sizes), matrix.shape[1]])
    return _tensordot(a, b, axes, name=name)


def _of_last_and_first(axes: Any) -> bool:
    # As Keras writes it; arrays and tensors, which may be axes too, cannot be compared so.
    return type(axes) is list and all(type(each) is list for each in axes) and axes == [[-1], [0]]
