"""What validate does not judge, or cannot open, and the digest of a whole version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]  # opens the digits export in every runtime

Run = Callable[..., tuple[int, str, str]]


def test_a_saved_model_that_is_the_original_and_does_not_load_is_5(
    attnexport: Run, tmp_path: Path, forget_hashes: Any
) -> None:
    import tensorflow as tf

    twice = tf.function(lambda x: {"y": 2 * x}, [tf.TensorSpec((None, 3), tf.float32, name="x")])
    tf.saved_model.save(tf.Module(), "twice", signatures=twice)
    assert attnexport("savedmodel", "twice", "--quiet")[0] == 0
    (tmp_path / "export/twice/saved_model/1/saved_model.pb").write_bytes(b"\0\1\2")
    forget_hashes(tmp_path / "export/twice")
    code, _, err = attnexport("validate", "export/twice")
    assert (code, "it is not what was exported: export it again" in err) == (5, True), (code, err)


def test_only_reported_is_not_called_passed(attnexport: Run, exported: Path, digits: Any, tmp_path: Path) -> None:
    """Made-up samples say nothing about what was calibrated on real ones."""
    code, out, err = attnexport("validate", exported, "--write-digest", "m.sha256")
    assert code == 0, err
    rows = [line.rstrip() for line in out.splitlines() if line.startswith("tflite/1/digits-multihead.int8.tflite ")]
    assert rows
    assert all(row.endswith("reported only") for row in rows)
    assert "warning: tflite/1/digits-multihead.int8.tflite was not judged: the samples are made up" in err
    assert "only reported, as the samples are made up: tflite/1/digits-multihead.int8.tflite" in out
    assert attnexport("validate", exported, "--digest", "m.sha256", "--evaluation", digits.evaluation)[0] == 0
    short = next(line for line in out.splitlines() if "The digest is sha256:" in line).split()[3].rstrip(",")
    code, _, err = attnexport("validate", exported, "--digest", short[:-1] + ("1" if short.endswith("0") else "0"))
    assert (code, "is expected" in err) == (5, True), err
    assert attnexport("validate", exported, "--digest", "gone.sha256")[0] == 2
