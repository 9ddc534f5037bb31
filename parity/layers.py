"""Where it goes wrong: the tensors inside an artifact, held against those of the original."""

from __future__ import annotations

from dataclasses import dataclass

from .metrics import Array


@dataclass(frozen=True)
class LayerCheck:
    """One tensor of the original, and what an artifact has in its place.

    Attributes:
        artifact: Path within the export.
        layer: Path of the Keras layer that computes it.
        role: What it is there: scores, softmax, context, concatenation, dense..., or an operator's name.
        tensor: Its name in the artifact.
        shape: `[n, ...]`, n counting samples.
        sqnr_db: In dB, after the scale factor between the two was taken out.
        max_error: In the original's unit.
    """

    artifact: str
    layer: str
    role: str
    tensor: str
    shape: tuple[int, ...]
    sqnr_db: float
    max_error: float


@dataclass(frozen=True)
class AttentionMap:
    """The attention weights of one sample in one layer.

    Attributes:
        layer: Path of the Keras layer.
        source: "Keras", or the artifact's path within the export.
        weights: `[heads, queries, keys]`.
    """

    layer: str
    source: str
    weights: Array
