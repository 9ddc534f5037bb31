"""The contents of a report, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attnexport.core.signature import Array, Arrays
from attnexport.parity.checks import Validation
from attnexport.parity.layers import AttentionMap, LayerCheck
from attnexport.parity.pareto import Candidate
from attnexport.store.manifest import VersionEntry


@dataclass(frozen=True)
class ComparedData:
    """The samples of a comparison.

    Attributes:
        name: What tables and messages call them.
        samples: Number of samples.
        content_hash: Hash of their content.
        given: Whether they are the user's, and not synthetic.
    """

    name: str
    samples: int
    content_hash: str
    given: bool = True


@dataclass(frozen=True)
class WorstSample:
    """The sample with an artifact's greatest error, run again by itself.

    Attributes:
        artifact: Path within the export.
        runtime: What ran it.
        signature: Name of the signature.
        output: Name of the output.
        number: Number of the sample in the data, from 0.
        inputs: Inputs by name, without the batch.
        expected: The original's output, without the batch.
        actual: The artifact's output, without the batch.
        error: Greatest absolute error of all samples, in the output's unit.
        index: Place of that error within the sample.
        labels: Names of the output's values, if they are classes with names.
    """

    artifact: str
    runtime: str
    signature: str
    output: str
    number: int
    inputs: Arrays
    expected: Array
    actual: Array
    error: float
    index: tuple[int, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Confusion:
    """How often samples of each class were given each class.

    Attributes:
        title: What gave the classes: the original, or an artifact.
        labels: Names of the classes.
        counts: `[right, given]`.
    """

    title: str
    labels: tuple[str, ...]
    counts: Array


@dataclass(frozen=True)
class Change:
    """An artifact beside the one of the same name in another version.

    Attributes:
        name: SavedModel, or the recipe.
        before, after: Size in bytes, SQNR in dB, agreement and accuracy; None if it is missing or was not measured.
    """

    name: str
    before: tuple[int | None, float | None, float | None, float | None]
    after: tuple[int | None, float | None, float | None, float | None]


@dataclass(frozen=True)
class Report:
    """What a report shows; sections without content are left out.

    Attributes:
        name: Name of the export.
        entry: The version, from the export's manifest.
        created: When it was validated, UTC, ISO 8601.
        validation: The verdict.
        data: The samples it was compared on.
        candidates: The artifacts of the version, with what they cost and lose.
        worst: The worst sample of each artifact.
        layers: The tensors inside the artifacts.
        maps: Attention weights of one sample, Keras's and the artifacts'.
        environment: Software and machine of this validation, by name.
        notes: What the reader should know, a sentence each.
        searched: The candidates of a precision search on this version.
        confusions: The classes of the samples with labels, the original's first.
        against: The version it is compared with; None without.
        changes: Its artifacts beside that version's.
    """

    name: str
    entry: VersionEntry
    created: str
    validation: Validation
    data: ComparedData
    candidates: tuple[Candidate, ...] = ()
    worst: tuple[WorstSample, ...] = ()
    layers: tuple[LayerCheck, ...] = ()
    maps: tuple[AttentionMap, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    searched: tuple[Candidate, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    against: int | None = None
    changes: tuple[Change, ...] = ()
