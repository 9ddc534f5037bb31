"""One artifact on one case of one signature: its outputs added up batch by batch, then judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attnexport.core.errors import AttnexportError, ServingError, first_line
from attnexport.core.runner import Runner
from attnexport.core.signature import Array, Arrays

from .budgets import budget_of, least_equal
from .checks import HALF, Batch, Check, Subject
from .figures import Figures
from .judgement import judge
from .limits import Limits
from .masked import masked_in_half
from .mismatch import is_float, mismatch, names_mismatch, not_finite
from .noise import Noise
from .running import run_for_comparison
from .tally import Tally, count

_GREATEST_HALF = float(np.finfo(np.float16).max)


class Series:
    """One subject on one case of one signature.

    Args:
        subject: The artifact in its runtime.
        batch: The first batch of the case.
        limits: What the user set.
        class_names: Names of the columns of an output that has as many.
    """

    def __init__(self, subject: Subject, batch: Batch, limits: Limits, class_names: Sequence[str] = ()) -> None:
        self._subject, self._limits, self._class_names = subject, limits, class_names
        if limits.min_sqnr_db is None and limits.rtol is None and not batch.is_edge:
            self._limits = replace(limits, min_sqnr_db=subject.min_sqnr_db)
        self._case, self._signature, self._is_edge = batch.case, batch.signature, batch.is_edge
        is_unlike_calibration = batch.is_synthetic and subject.calibrated and limits == Limits()
        self._is_only_reported = is_unlike_calibration or (batch.is_edge and subject.precision != "float32")
        self._tallies: dict[str, Tally] = {}
        self._worst: dict[str, tuple[Arrays, Arrays, int]] = {}
        self._samples = 0
        self._problems: dict[str, tuple[str, Arrays]] = {}
        self._equal: set[str] = set()
        self._is_refused = False

    def add(self, batch: Batch, expected: Arrays) -> None:
        """Run a batch, and add up how far the outputs are from what is expected."""
        try:
            actual = run_for_comparison(self._subject.runner, batch.inputs, signature=batch.signature)
        except AttnexportError as error:
            self._problems.setdefault("*", (first_line(error), batch.inputs))
            self._is_refused = isinstance(error, ServingError) and not self._samples
            return
        if problem := names_mismatch(expected, actual):
            self._problems.setdefault("*", (problem, batch.inputs))
            return
        for name in sorted(expected):
            self._add_output(name, batch, expected, actual[name])
        self._samples += count(next(iter(expected.values())))

    def checks(self, reference: Runner) -> list[Check]:
        """The judgement of each output; the reference is run again to measure its own noise."""
        checks = [self._check(name, None, problem, inputs) for name, (problem, inputs) in self._problems.items()]
        for name, tally in self._tallies.items():
            if name in self._problems:
                continue
            measured = tally.result().named(self._class_names)
            problem, is_comparable = self._judge(name, measured, reference)
            offending = self._offending(name, measured) if problem else None
            checks.append(self._check(name, measured if is_comparable else None, problem, offending))
        return checks + [self._check(name, None, None, None) for name in sorted(self._equal - self._problems.keys())]

    def _add_output(self, name: str, batch: Batch, expected: Arrays, actual: Array) -> None:
        wanted = expected[name]
        least = 0.0 if self._is_only_reported else least_equal(self._subject.precision)
        problem = mismatch(wanted, actual, least)
        if problem is None and is_float(wanted):
            tally = self._tallies.setdefault(name, self._tally())
            if self._subject.runtime == HALF:
                actual = masked_in_half(wanted, actual)
            if not_finite(wanted) is None:
                problem = not_finite(actual)
                if problem is not None and self._subject.runtime == HALF and np.abs(wanted).max() > _GREATEST_HALF:
                    problem += f"; float16 ends at {_GREATEST_HALF:g}, and the original gives more: scale it in the app"
            if problem is None and (self._measure(tally, name, batch, wanted, actual) or name not in self._worst):
                self._worst[name] = batch.inputs, expected, self._samples
        elif problem is None:
            self._equal.add(name)
        if problem is not None:
            self._problems.setdefault(name, (problem, batch.inputs))

    def _measure(self, tally: Tally, name: str, batch: Batch, wanted: Array, actual: Array) -> bool:
        is_judged = batch.judged in (None, name)
        return tally.add(wanted, actual, batch.labels if is_judged else None, with_classes=is_judged)

    def _tally(self) -> Tally:
        step = budget_of(self._subject.precision).step
        return Tally(rtol=self._limits.rtol or 0.0, atol=self._limits.atol or 0.0, step=step)

    def _judge(self, name: str, measured: Figures, reference: Runner) -> tuple[str | None, bool]:
        """Why the output fails, None if it passes, and whether there is anything to compare with."""
        if self._is_only_reported:
            return None, True
        inputs, expected, _ = self._worst[name]
        noise = Noise(reference, inputs, self._signature, expected)
        judgement = judge(
            measured,
            self._subject.precision,
            self._limits,
            output=name,
            noise=noise,
            columns=self._tallies[name].columns,
        )
        return "; ".join(judgement.problems) or None, judgement.is_comparable

    def _offending(self, name: str, measured: Figures) -> Arrays:
        """The sample with the greatest error, as inputs of one."""
        inputs, _, start = self._worst[name]
        number = measured.index[0] - start if measured.index else 0
        return {key: array[number : number + 1] for key, array in inputs.items()}

    def _check(self, output: str, measured: Figures | None, problem: str | None, inputs: Arrays | None) -> Check:
        subject = self._subject
        return Check(
            subject.artifact,
            subject.runtime,
            subject.precision,
            self._signature,
            output,
            self._case,
            self._is_edge,
            measured,
            problem,
            self._is_only_reported and measured is not None,
            self._is_refused and output == "*",
            inputs,
        )
