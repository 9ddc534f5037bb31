"""Child processes that measure candidates: one that crashes is a candidate with a problem, and another takes over."""

from __future__ import annotations

import json
import queue
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from attnexport.core.child_process import Child
from attnexport.core.errors import ContentError, ModelError
from attnexport.core.runner import batched
from attnexport.core.samples import Samples
from attnexport.core.signature import DEFAULT_SIGNATURE
from attnexport.parity import Case
from attnexport.parity.labelled import judged_output
from attnexport.tflite.preparation import Prepared
from attnexport.tflite.recipes import Recipe
from attnexport.tflite.recipes.recipe import FITTED
from attnexport.tflite.statistics import ranges

from .goal import SEARCHED, Measurement
from .space import SearchSpace
from .worker import measure_candidate, race_candidates

_MAX_CHILDREN = 2
_TIMEOUT = 300.0  # seconds for one candidate
_BATCH = 256  # samples in one call of the original
_MAX_FEW, MAX_FULL = 64, 512  # samples for the noise of a unit, and evaluation samples for a candidate


class Workers:
    """Up to two child processes, started when they are needed.

    Args:
        prepared: The model, ranges and held-out samples.
        evaluation: Samples to evaluate on in addition, with or without labels.
        space: What candidates may use.
    """

    def __init__(self, prepared: Prepared, evaluation: Samples | None, space: SearchSpace) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._pool = ThreadPoolExecutor(_MAX_CHILDREN)
        self._children = [Child(running="the interpreter", timeout=_TIMEOUT) for _ in range(_MAX_CHILDREN)]
        self._idle: queue.LifoQueue[Child] = queue.LifoQueue()  # the last one has the model loaded
        for child in self._children:
            self._idle.put(child)
        root = Path(self._directory.name)
        (root / "model.tflite").write_bytes(prepared.model)
        cases = _cases(prepared, evaluation, space.labels_for)
        metadata = prepared.options.metadata
        setup = {
            "metadata": None if metadata is None else asdict(replace(metadata, recipe=SEARCHED)),
            "ranges": {each: ranges(prepared.statistics, each) for each in space.calibrators},
            "cases": {
                what: [_write(root / f"{what}{at}.npz", *each) for at, each in enumerate(several)]
                for what, several in cases.items()
            },
        }
        if FITTED in space.weight_algorithms:
            prepared.fitter.save(root / "fits.npz")
        (root / "setup.json").write_text(json.dumps(setup), encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.kill()
        self._pool.shutdown(cancel_futures=True)
        for child in self._children:
            child.close()
        self._directory.cleanup()

    def measure(self, recipes: Sequence[Recipe], what: str = "full") -> list[Measurement]:
        """Measure candidates on a `few` samples, on those that all candidates get (`full`), or on `all` samples."""
        return list(self._pool.map(lambda recipe: self._measure(recipe, what), recipes))

    def race(self, recipes: Sequence[Recipe], *, rounds: int, seconds: float) -> list[float]:
        """Medians in ms, from calls in turn in one child: of float32, of float32 again, and of the candidates.

        Raises:
            ModelError: if the child does not survive it.
        """
        try:
            with self._child() as child:
                return child.call(race_candidates, Path(self._directory.name), list(recipes), rounds, seconds)
        except ContentError as error:
            raise ModelError(f"candidates cannot be timed: {error}") from error

    def _measure(self, recipe: Recipe, what: str) -> Measurement:
        try:
            with self._child() as child:
                return child.call(measure_candidate, Path(self._directory.name), recipe, what)
        except ContentError as error:
            return Measurement(problem=str(error))

    @contextmanager
    def _child(self) -> Iterator[Child]:
        child = self._idle.get()
        try:
            yield child
        finally:
            self._idle.put(child)


def _cases(
    prepared: Prepared, evaluation: Samples | None, labels_for: str | None
) -> dict[str, list[tuple[Case, Any, str | None]]]:
    """Cases by the name of their set, with labels, and the output whose agreement and accuracy are measured on them."""
    few = next(case for case in prepared.cases if case.signature == DEFAULT_SIGNATURE)
    judged = judged_output(few.expected or {}, chosen=labels_for)
    if evaluation is None:
        held_out = [(case, None, judged if case.signature == DEFAULT_SIGNATURE else None) for case in prepared.cases]
        return {"few": [(_some(few, _MAX_FEW), None, judged)], "full": held_out}
    held_out = [(case, None, None) for case in prepared.cases]
    answers = batched(prepared.reference, evaluation.inputs, batch_size=_BATCH)
    given = Case("evaluation samples", evaluation.inputs, DEFAULT_SIGNATURE, answers)
    labels = evaluation.labels
    judged = judged_output(answers, labels, chosen=labels_for)
    several: dict[str, list[tuple[Case, Any, str | None]]] = {
        "few": [(_some(given, _MAX_FEW), None, judged)],
        "full": [*held_out, (_some(given, MAX_FULL), _spread(labels, MAX_FULL), judged)],
    }
    if len(evaluation) > MAX_FULL:
        several["all"] = [*held_out, (given, labels, judged)]
    return several


def _some(case: Case, count: int) -> Case:
    """A case with at most `count` samples, evenly spread, since files are often sorted by class."""
    inputs, expected = (
        {name: _spread(array, count) for name, array in arrays.items()} for arrays in (case.inputs, case.expected or {})
    )
    return Case(case.name, inputs, case.signature, expected)


def _spread(array: Any, count: int) -> Any:
    if array is None or len(array) <= count:
        return array
    return array[np.arange(count) * len(array) // count]


def _write(path: Path, case: Case, labels: Any, judged: str | None) -> dict[str, Any]:
    arrays = {f"in.{name}": array for name, array in case.inputs.items()}
    arrays |= {f"out.{name}": array for name, array in (case.expected or {}).items()}
    if labels is not None:
        arrays["labels"] = labels
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return {"file": path.name, "signature": case.signature, "judged": judged}
