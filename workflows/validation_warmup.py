"""Whether a SavedModel's warm-up records run: TF Serving replays them before it calls a version available."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from attnexport.core.errors import AttnexportError, ModelError, first_line
from attnexport.core.runner import Runner
from attnexport.core.signature import Arrays
from attnexport.exporter.warmup import read_warmup

_MOST_ALONE = 32  # records of one form that cannot be joined
_MOST_ROWS = 256  # that are joined in one call


@dataclass
class _Alike:
    """Records of one signature, types and shapes, that have not been run yet."""

    signature: str
    rows: int
    run: int = 0
    waiting: list[tuple[int, Arrays]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return self.rows * len(self.waiting) >= _MOST_ROWS


class _RecordError(Exception):
    """A record that fails, and why."""

    def __init__(self, number: int, error: AttnexportError) -> None:
        self.number, self.error = number, error


def failing_warmup(saved_model: Path, runner: Runner) -> str | None:
    """The first warm-up record that fails, which keeps a version of TF Serving down; None if every record runs.

    Every record is run: the first of each form alone, the others of its form in joined calls. If the batch is not free,
    only the first few of each form are run.

    Args:
        saved_model: The SavedModel's directory.
        runner: Runs it.
    """
    number, forms = 0, dict[object, _Alike]()
    try:
        for record in read_warmup(saved_model):
            number += 1
            if record is not None:
                _add(forms, number, *record, runner)
        for alike in forms.values():
            _run_joined(alike, runner)
    except _RecordError as failed:
        return f"warm-up record {failed.number} fails: {first_line(failed.error)}"
    except ModelError as error:
        return str(error)
    return None


def _add(forms: dict[object, _Alike], number: int, signature: str, inputs: Arrays, runner: Runner) -> None:
    form = (signature, *((key, array.dtype.str, array.shape) for key, array in sorted(inputs.items())))
    alike = forms.setdefault(form, _Alike(signature, _rows(runner, signature, inputs)))
    if alike.run and alike.rows:
        alike.waiting.append((number, inputs))
        if alike.is_full:
            _run_joined(alike, runner)
    elif alike.run < _MOST_ALONE:
        alike.run += 1
        _run_alone([(number, inputs)], signature, runner)


def _rows(runner: Runner, signature: str, inputs: Arrays) -> int:
    """The rows of a record, if others can be run with it; 0 if not."""
    known = runner.signatures.get(signature)
    if known is None or not known.is_batched or known.fixed_batch is not None:
        return 0
    sizes = {len(array) if array.ndim else 0 for array in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else 0


def _run_joined(alike: _Alike, runner: Runner) -> None:
    waiting, alike.waiting = alike.waiting, []
    if not waiting:
        return
    try:
        runner.run(
            {name: np.concatenate([each[name] for _, each in waiting]) for name in waiting[0][1]}, alike.signature
        )
    except AttnexportError:
        _run_alone(waiting, alike.signature, runner)


def _run_alone(records: Sequence[tuple[int, Arrays]], signature: str, runner: Runner) -> None:
    for number, inputs in records:
        try:
            runner.run(inputs, signature)
        except AttnexportError as error:
            raise _RecordError(number, error) from error
