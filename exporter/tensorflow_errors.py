"""What TensorFlow's errors mean, without where in TensorFlow they were raised."""

from __future__ import annotations

import tensorflow as tf

from attnexport.core.errors import first_line


def reason(error: BaseException) -> str:
    """The sentence that says what was wrong.

    A `tf.errors.OpError` begins with "Graph execution error" and a trace of where the node was made, and ends with
    the node; between them stands what happened.
    """
    if isinstance(error, tf.errors.OpError):
        return str(error.message).partition("\n\t [[")[0].strip().rpartition("\n")[2]
    return first_line(error)
