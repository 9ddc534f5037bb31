"""TensorFlow without what it says while it works."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Hide TensorFlow's notes: where it wrote, and that its session loader is deprecated, which TF Serving uses."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
