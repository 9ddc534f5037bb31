"""Keras on TensorFlow, whatever the environment asks for: what is exported are TensorFlow's graphs."""

from __future__ import annotations

import os
import sys

from attnexport.core.errors import ArgumentError

_VARIABLE = "KERAS_BACKEND"
_TENSORFLOW = "tensorflow"
_replaced: list[str] = []


def use_tensorflow() -> None:
    """Have Keras start with TensorFlow, if it has not started yet."""
    wanted = os.environ.get(_VARIABLE, _TENSORFLOW)
    if "keras" not in sys.modules:
        os.environ[_VARIABLE] = _TENSORFLOW  # also before the user's configuration file
        if wanted != _TENSORFLOW:
            _replaced.append(wanted)


def backend_notes() -> tuple[str, ...]:
    """What to say of the backend that the environment asked for.

    Raises:
        ArgumentError: if Keras runs on another one.
    """
    keras = sys.modules.get("keras")  # who needs no Keras loads none
    backend = _TENSORFLOW if keras is None else str(keras.config.backend())
    if backend != _TENSORFLOW:
        raise ArgumentError(
            f"Keras was imported with the backend {backend!r}, and exports need TensorFlow's graphs: set "
            f"{_VARIABLE}={_TENSORFLOW} before Keras is imported, or import attnexport.exporter first"
        )
    return tuple(f"{_VARIABLE}={each} was set; Keras runs on TensorFlow here, which exports need" for each in _replaced)
