"""Validation: every artifact in every runtime against one original, in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from attnexport.core.errors import AttnexportError, first_line
from attnexport.core.runner import Runner, batched
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature, fits
from attnexport.store.manifest import Artifact

from .figures import Figures
from .judgement import judge
from .limits import Limits
from .metrics import Array
from .mismatch import is_float, mismatch, names_mismatch, not_finite
from .noise import Noise
from .tally import Tally, count


@dataclass(frozen=True)
class Subject:
    """An artifact in a runtime.

    `artifact` is its path within the export or an address, `runtime` what runs it, `precision` a row of the budgets;
    `calibrated` where it is made for samples that somebody gave; `min_sqnr_db` in dB takes the place of the budget.
    """

    artifact: str
    runtime: str
    precision: str
    runner: Runner
    calibrated: bool = False
    min_sqnr_db: float | None = None

    @classmethod
    def of(cls, artifact: Artifact, runtime: str, runner: Runner) -> Subject:
        """An artifact as its manifest describes it."""
        return cls(
            artifact.path, runtime, artifact.precision, runner, artifact.calibrated_on_given, artifact.min_sqnr_db
        )

    def __str__(self) -> str:
        return f"{self.artifact} ({self.runtime})"


@dataclass(frozen=True)
class Batch:
    """Some inputs `[n, ...]` of a case for one signature, with `labels [n]` where they are known.

    `is_edge` where nobody gave them: then quantized artifacts must answer with finite numbers of the right shape, and
    their error is reported only. `is_made_up` where they are no edges, but nobody gave them either: then that is so of
    artifacts that are calibrated on samples that somebody gave, unless the user set limits.
    """

    case: str
    inputs: Arrays
    signature: str = DEFAULT_SIGNATURE
    labels: Array | None = None
    is_edge: bool = False
    is_made_up: bool = False


@dataclass(frozen=True)
class Check:
    """One output of one artifact in one runtime, over all batches of a case; `problem` says why it fails."""

    artifact: str
    runtime: str
    precision: str
    signature: str
    output: str
    case: str
    is_edge: bool
    measured: Figures | None
    problem: str | None
    offending: Arrays | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        place = f"{self.artifact} ({self.runtime}), {self.signature} output {self.output!r} on {self.case}"
        return f"{place}: {self.problem or 'passed'}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values, without the offending input; an infinite figure is null."""
        document = {key: value for key, value in vars(self).items() if key not in ("offending", "measured")}
        figures = {} if self.measured is None else self.measured.to_dict()
        renamed = {"top_1_agreement" if name == "agreement" else name: value for name, value in figures.items()}
        return {**document, "measured": renamed or None}


@dataclass(frozen=True)
class Validation:
    """The verdict on all artifacts: true when every check passed."""

    reference: str
    checks: tuple[Check, ...]

    def __bool__(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.problem)

    @property
    def only_numbers_failed(self) -> bool:
        """Whether every failure is one of a budget, and none of shape, type, finiteness or running at all."""
        return all(check.measured is not None for check in self.failures)


def validate(
    reference: Runner,
    subjects: Sequence[Subject],
    batches: Iterable[Batch],
    *,
    limits: Limits | None = None,
    reference_name: str = "Keras",
    on_batch: Callable[[Batch], None] = lambda batch: None,
) -> Validation:
    """Run every batch through the original once and through every subject that takes it.

    Args:
        reference: The original.
        subjects: What is held against it.
        batches: The data; batches of one case and signature follow each other or not, each is looked at once.
        limits: Limits beside and in place of the precisions' budgets.
        reference_name: What the original is called.
        on_batch: Called after each batch.
    """
    limits = limits or Limits()
    series: dict[tuple[int, str, str], _Series] = {}
    for batch in batches:
        expected = _answer(reference, batch)
        if expected is None:
            on_batch(batch)
            continue
        for number, subject in enumerate(subjects):
            signature = subject.runner.signatures.get(batch.signature)
            if signature is None:
                continue  # that is for its gate to say
            other = batch.is_edge or narrows(signature, reference.signatures[batch.signature])
            if other and not takes(signature, batch.inputs):
                continue  # of other steps
            key = number, batch.signature, batch.case
            if key not in series:
                series[key] = _Series(subject, batch, limits)
            series[key].add(batch, expected)
        on_batch(batch)
    checks = [check for each in series.values() for check in each.checks(reference)]
    return Validation(reference_name, tuple(checks))


def _answer(reference: Runner, batch: Batch) -> Arrays | None:
    """The original's answer; None where it has none to an edge case, which then proves nothing."""
    try:
        outputs = batched(reference, batch.inputs, signature=batch.signature)
    except AttnexportError:
        if batch.is_edge:
            return None
        raise
    finite = all(not_finite(each) is None for each in outputs.values() if is_float(each))
    return outputs if finite or not batch.is_edge else None


class _Series:
    """One subject on one case of one signature."""

    def __init__(self, subject: Subject, batch: Batch, limits: Limits) -> None:
        self._subject, self._limits = subject, limits
        if limits.min_sqnr_db is None and limits.rtol is None and not batch.is_edge:
            self._limits = replace(limits, min_sqnr_db=subject.min_sqnr_db)
        self._case, self._signature, self._is_edge = batch.case, batch.signature, batch.is_edge
        unlike = batch.is_made_up and subject.calibrated and limits == Limits()
        self._is_only_reported = unlike or (batch.is_edge and subject.precision != "float32")
        self._tallies: dict[str, Tally] = {}
        self._worst: dict[str, tuple[Arrays, Arrays, int]] = {}
        self._samples = 0
        self._problems: dict[str, tuple[str, Arrays]] = {}
        self._equal: set[str] = set()

    def add(self, batch: Batch, expected: Arrays) -> None:
        try:
            actual = batched(self._subject.runner, batch.inputs, signature=batch.signature)
        except AttnexportError as error:
            self._problems.setdefault("*", (first_line(error), batch.inputs))
            return
        if problem := names_mismatch(expected, actual):
            self._problems.setdefault("*", (problem, batch.inputs))
            return
        for name in sorted(expected):
            self._add_output(name, batch, expected, actual[name])
        self._samples += count(next(iter(expected.values())))

    def checks(self, reference: Runner) -> list[Check]:
        found = [self._check(name, None, problem, inputs) for name, (problem, inputs) in self._problems.items()]
        for name, tally in self._tallies.items():
            if name in self._problems:
                continue
            measured = tally.result()
            problem, is_comparable = self._judge(name, measured, reference)
            offending = self._offending(name, measured) if problem else None
            found.append(self._check(name, measured if is_comparable else None, problem, offending))
        return found + [self._check(name, None, None, None) for name in sorted(self._equal - self._problems.keys())]

    def _add_output(self, name: str, batch: Batch, expected: Arrays, actual: Array) -> None:
        wanted = expected[name]
        problem = mismatch(wanted, actual)
        if problem is None and is_float(wanted):
            tally = self._tallies.setdefault(name, Tally(rtol=self._limits.rtol or 0.0, atol=self._limits.atol or 0.0))
            if not_finite(wanted) is None:
                problem = not_finite(actual)
            if problem is None and (tally.add(wanted, actual, batch.labels) or name not in self._worst):
                self._worst[name] = batch.inputs, expected, self._samples
        elif problem is None:
            self._equal.add(name)
        if problem is not None:
            self._problems.setdefault(name, (problem, batch.inputs))

    def _judge(self, name: str, measured: Figures, reference: Runner) -> tuple[str | None, bool]:
        """Why the output fails, None if it passes, and whether there is anything to compare with."""
        if self._is_only_reported:
            return None, True
        inputs, expected, _ = self._worst[name]
        noise = Noise(reference, inputs, self._signature, expected)
        judgement = judge(measured, self._subject.precision, self._limits, output=name, noise=noise)
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
            inputs,
        )


def narrows(signature: Signature, original: Signature) -> bool:
    """Whether it has fixed a size beside the batch that the original leaves free."""
    free = {spec.name: spec.shape or () for spec in original.inputs}
    return any(
        size is None and fixed is not None
        for spec in signature.inputs
        for size, fixed in zip(free.get(spec.name, ())[1:], (spec.shape or ())[1:], strict=False)
    )


def takes(signature: Signature, inputs: Arrays) -> bool:
    """Whether a signature can be fed these inputs, in its own batch."""
    wanted = {spec.name: spec.shape for spec in signature.inputs}
    if wanted.keys() != inputs.keys():
        return False
    return all(shape is None or fits(inputs[name].shape[1:], shape[1:]) for name, shape in wanted.items())
