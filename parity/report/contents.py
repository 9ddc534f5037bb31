"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attnexport.core.signature import Arrays
from attnexport.parity.checks import Validation
from attnexport.parity.layers import AttentionMap, LayerCheck
from attnexport.parity.metrics import Array
from attnexport.parity.pareto import Candidate
from attnexport.store.manifest import VersionEntry


@dataclass(frozen=True)
class ComparedData:
    """The samples of a comparison: what they are called, how many they are, and the hash of their content.

    `given` where they are the user's, and not made up.
    """

    name: str
    samples: int
    content_hash: str
    given: bool = True


@dataclass(frozen=True)
class WorstSample:
    """The sample on which an artifact is farthest from the original, run again by itself.

    Attributes:
        artifact: Path within the export.
        runtime: What ran it.
        signature: Its name.
        output: The name of the output.
        number: Its place in the data, from 0.
        inputs: By name, without the batch.
        expected: The original's output, without the batch.
        actual: The artifact's.
        error: The greatest absolute error that was measured among all samples, in the output's unit.
        index: Its place within the sample.
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


@dataclass(frozen=True)
class Report:
    """All that a report shows; what is empty is left out.

    Attributes:
        name: The export's.
        entry: What its manifest says of the version.
        created: When it was validated, UTC, ISO 8601.
        validation: The verdict.
        data: What it was compared on.
        candidates: Its artifacts as ways to ship the model.
        worst: The worst sample of each artifact.
        layers: The tensors inside the artifacts.
        maps: Attention weights of one sample, Keras's and the artifacts'.
        environment: Versions and machine of this validation, by name.
        notes: A sentence each.
        searched: What a precision search of this version measured.
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
