"""The values of a validation: what is compared, on what, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from attnexport.core.runner import Runner
from attnexport.core.signature import DEFAULT_SIGNATURE, Array, Arrays
from attnexport.store.manifest import Artifact

from .figures import Figures

HALF = "half precision"  # the runtime of a phone's GPU


@dataclass(frozen=True)
class Subject:
    """An artifact in a runtime.

    Attributes:
        artifact: Path within the export.
        runtime: What runs it.
        precision: Its row of the table of budgets.
        runner: Runs it.
        calibrated: Whether it was calibrated on samples of the user's.
        min_sqnr_db: Least SQNR in dB in place of the budget, as its recipe says.
        edge_cases: Whether it is run on edge cases; their magnitudes are beyond half precision, whatever the model.
    """

    artifact: str
    runtime: str
    precision: str
    runner: Runner
    calibrated: bool = False
    min_sqnr_db: float | None = None
    edge_cases: bool = True

    @classmethod
    def of(cls, artifact: Artifact, runtime: str, runner: Runner) -> Subject:
        """An artifact as its manifest describes it."""
        return cls(
            artifact.path, runtime, artifact.precision, runner, artifact.calibrated_on_given, artifact.min_sqnr_db
        )

    @classmethod
    def in_half(cls, artifact: Artifact, runner: Runner) -> Subject:
        """An artifact whose float32 is computed in float16: held to bfloat16's budget, since every operator rounds."""
        precision = "bfloat16" if artifact.precision in ("float32", "float16") else artifact.precision
        calibrated, least = artifact.calibrated_on_given, artifact.min_sqnr_db
        return cls(artifact.path, HALF, precision, runner, calibrated, least, edge_cases=False)

    def __str__(self) -> str:
        return f"{self.artifact} ({self.runtime})"


@dataclass(frozen=True)
class Batch:
    """Some inputs of a case for one signature.

    Attributes:
        case: What tables and messages call the case.
        inputs: Arrays `[n, ...]` by input name.
        signature: The signature to run.
        labels: The right classes, `[n]`, if they are known.
        judged: The output that is scores of these classes, or whose top class is to be compared; all outputs if None.
        is_edge: Whether it is an edge case: quantized artifacts must give finite numbers of the right shape, and their
            error is only reported.
        is_synthetic: Whether the user gave no samples: errors of artifacts calibrated on the user's samples are then
            only reported, unless the user set limits.
    """

    case: str
    inputs: Arrays
    signature: str = DEFAULT_SIGNATURE
    labels: Array | None = None
    judged: str | None = None
    is_edge: bool = False
    is_synthetic: bool = False


@dataclass(frozen=True)
class Check:
    """One output of one artifact in one runtime, over all batches of a case.

    Attributes:
        artifact: Path within the export.
        runtime: What ran it.
        precision: Its row of the table of budgets.
        signature: The signature that was run.
        output: Name of the output; `*` if the signature did not run, or gives outputs of other names.
        case: Name of the case.
        is_edge: Whether it is an edge case.
        measured: The figures; None if values were equal that must be, or could not be compared.
        problem: Why it failed; None if it passed.
        is_reported: Whether its error is only reported: of a quantized artifact on an edge case, or on made-up samples
            if it was calibrated on others.
        is_refused: Whether a server did not do what was requested.
        offending: The sample with the greatest error, as inputs `[1, ...]` by name, if it failed.
    """

    artifact: str
    runtime: str
    precision: str
    signature: str
    output: str
    case: str
    is_edge: bool
    measured: Figures | None
    problem: str | None
    is_reported: bool = False
    is_refused: bool = False
    offending: Arrays | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        runtime = f" ({self.runtime})" if self.runtime else ""
        place = f"{self.artifact}{runtime}, {self.signature} output {self.output!r} on {self.case}"
        if self.output == "*" and self.measured is None and not self.offending:
            place = f"{self.artifact}{runtime}" + ("" if self.signature == "*" else f", signature {self.signature!r}")
        return f"{place}: {self.problem or 'passed'}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values, without the offending input; an infinite figure is null."""
        document = {key: value for key, value in vars(self).items() if key not in ("offending", "measured")}
        figures = {} if self.measured is None else self.measured.to_dict()
        renamed = {"top_1_agreement" if name == "agreement" else name: value for name, value in figures.items()}
        return {**document, "measured": renamed or None}


@dataclass(frozen=True)
class Validation:
    """The verdict on all artifacts: true if every check passed.

    Attributes:
        reference: What the artifacts were compared with.
        checks: One for each output, case and runtime.
    """

    reference: str
    checks: tuple[Check, ...]

    def __bool__(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.problem)

    @property
    def only_numbers_failed(self) -> bool:
        """Whether every failure exceeds a budget or limit, and none is one of shape, type, NaN or running at all."""
        return all(check.measured is not None for check in self.failures)

    @property
    def only_servers_failed(self) -> bool:
        """Whether every failure is of a server that refused all calls."""
        refused = {(check.artifact, check.runtime) for check in self.failures if check.is_refused}
        answered = {(check.artifact, check.runtime) for check in self.checks if not check.is_refused}
        return all(check.is_refused for check in self.failures) and not refused & answered

    @property
    def only_reported(self) -> tuple[str, ...]:
        """The artifacts whose errors on the samples were only reported, so that no number of theirs was judged."""
        judged = {check.artifact for check in self.checks if not check.is_edge and not check.is_reported}
        reported = (check.artifact for check in self.checks if not check.is_edge and check.is_reported)
        return tuple(dict.fromkeys(each for each in reported if each not in judged))
