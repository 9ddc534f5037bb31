"""Child processes that measure candidates: a crash is an answer, and another child takes over."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from attnexport.core.errors import ModelError
from attnexport.core.runner import batched
from attnexport.core.samples import Samples
from attnexport.core.signature import DEFAULT_SIGNATURE
from attnexport.parity import Case
from attnexport.tflite.preparation import Prepared
from attnexport.tflite.probe import describe_end
from attnexport.tflite.recipes import Recipe
from attnexport.tflite.statistics import ranges

from .goal import Measurement

_AT_ONCE = 2
_TIMEOUT = 300.0  # seconds for one candidate
_BATCH = 256  # samples in one call of the original
_FEW, FULL = 64, 512  # samples for a sensitivity, and evaluation samples for a candidate


class Workers:
    """Up to two children, which start when they are needed.

    Args:
        prepared: The model, ranges and held-out samples.
        evaluation: Samples to judge on beside, with labels or without.
        calibrators: Of which ranges will be asked for; none where the model is not to be calibrated.
    """

    def __init__(self, prepared: Prepared, evaluation: Samples | None, calibrators: Sequence[str]) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._own = threading.local()
        self._children: list[subprocess.Popen[bytes]] = []
        root = Path(self._directory.name)
        (root / "model.tflite").write_bytes(prepared.model)
        cases = _cases(prepared, evaluation)
        setup = {
            "ranges": {each: ranges(prepared.statistics, each) for each in calibrators},
            "cases": {
                what: [_write(root / f"{what}{at}.npz", *each) for at, each in enumerate(several)]
                for what, several in cases.items()
            },
        }
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
            child.communicate()
        self._directory.cleanup()

    def measure(self, recipes: Sequence[Recipe], what: str = "full") -> list[Measurement]:
        """Measure candidates: on a `few` samples, as it is done for all (`full`), or on `all` samples."""
        requests = [{"what": what, "recipes": [asdict(each)]} for each in recipes]
        found = list(self._pool.map(self._ask, requests))
        return [Measurement.from_worker(each) for each in found]

    def race(self, recipes: Sequence[Recipe], *, rounds: int, seconds: float) -> list[float]:
        """Medians in ms, from calls in turn in one child: of float32, of float32 again, and of the candidates.

        Raises:
            ModelError: where the child does not survive it.
        """
        request = {"what": "race", "recipes": [asdict(each) for each in recipes], "rounds": rounds, "seconds": seconds}
        found = self._pool.submit(self._ask, request).result()
        if "milliseconds" not in found:
            raise ModelError(f"candidates cannot be timed: {found['problem']}")
        return list(found["milliseconds"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One question to the calling thread's own child."""
        child = getattr(self._own, "child", None)
        if child is None:
            child = self._own.child = self._start()
        line = _converse(child, json.dumps(request).encode() + b"\n")
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._own.child = None
        return asdict(Measurement(problem=self._end(child)))

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-P", "-m", "attnexport.tflite.search.worker", self._directory.name]
        # A session of its own: Ctrl-C is the parent's to hear.
        child = subprocess.Popen(  # noqa: S603
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._children.append(child)
        return child

    def _end(self, child: subprocess.Popen[bytes]) -> str:
        """What became of a child that gave no answer."""
        try:
            code = child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            child.kill()
            return f"it hangs the interpreter: nothing came of it in {_TIMEOUT:g} s"
        return describe_end(code, "the interpreter") or f"its process ended with exit code {code}"


def _converse(child: subprocess.Popen[bytes], line: bytes) -> bytes:
    """Write a line to a child and read one; nothing where it is gone, or silent for too long."""
    takes, gives = child.stdin, child.stdout
    if takes is None or gives is None:
        return b""
    try:
        takes.write(line)
        takes.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(gives, selectors.EVENT_READ)
            return gives.readline() if ready.select(_TIMEOUT) else b""
    except OSError:  # a pipe that nobody reads any more
        return b""


def _cases(prepared: Prepared, evaluation: Samples | None) -> dict[str, list[tuple[Case, Any, bool]]]:
    """By what is asked for: cases, their labels, and whether agreement and accuracy are of them."""
    held_out = [(case, None, evaluation is None and case.signature == DEFAULT_SIGNATURE) for case in prepared.cases]
    if evaluation is None:
        few = next(case for case in prepared.cases if case.signature == DEFAULT_SIGNATURE)
        return {"few": [(_some(few, _FEW), None, True)], "full": held_out}
    answers = batched(prepared.reference, evaluation.inputs, batch_size=_BATCH)
    given = Case("evaluation samples", evaluation.inputs, DEFAULT_SIGNATURE, answers)
    labels = evaluation.labels
    several = {
        "few": [(_some(given, _FEW), None, True)],
        "full": [*held_out, (_some(given, FULL), _spread(labels, FULL), True)],
    }
    if len(evaluation) > FULL:
        several["all"] = [*held_out, (given, labels, True)]
    return several


def _some(case: Case, count: int) -> Case:
    """A case with so many of its samples at most, evenly spread: files are often sorted by class."""
    inputs, expected = (
        {name: _spread(array, count) for name, array in arrays.items()} for arrays in (case.inputs, case.expected or {})
    )
    return Case(case.name, inputs, case.signature, expected)


def _spread(array: Any, count: int) -> Any:
    if array is None or len(array) <= count:
        return array
    return array[np.arange(count) * len(array) // count]


def _write(path: Path, case: Case, labels: Any, judged: bool) -> dict[str, Any]:
    arrays = {f"in.{name}": array for name, array in case.inputs.items()}
    arrays |= {f"out.{name}": array for name, array in (case.expected or {}).items()}
    if labels is not None:
        arrays["labels"] = labels
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return {"file": path.name, "signature": case.signature, "judged": judged}
