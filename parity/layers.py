"""Where it goes wrong: the tensors inside an artifact, held against those of the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attnexport.core.signature import Arrays

from .metrics import Array, distance, sqnr_db

# A tensor of the float32 artifact is the original's where their SQNR, a scale factor apart, is at least the first of
# these, and at most the second below the best one's: others may be alike. Above the third is float32's own rounding.
_SAME_DB, _AS_GOOD_DB, _EXACT_DB = 60.0, 10.0, 110.0
# What holds attention weights by role: ours, and the layer inside Keras's own attention.
_ATTENTION_RANKS = {"softmax": (3, 4), "Softmax": (4,)}


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


@dataclass(frozen=True)
class Match:
    """Where a tensor of the original is found: it is `scale` times the artifact's `tensor`."""

    tensor: str
    scale: float


def match(original: Arrays, candidate: Arrays) -> dict[str, Match]:
    """Find the tensors of an original among those of a float32 artifact, by their values up to a scale factor.

    Names do not tell: converters fuse, fold scale factors into weights and name what is left after its last part.
    Where several tensors hold the same values, in whatever shape, the first that was computed is taken.

    Args:
        original: Arrays `[n, ...]` by name, in the order of computation.
        candidate: Those of the artifact, on the same samples.

    Returns:
        By the original's name; without those that are zero, not finite or nowhere to be found.
    """
    flat = {name: np.asarray(array, np.float64).reshape(-1) for name, array in candidate.items()}
    energies = {name: float(values @ values) for name, values in flat.items()}
    found = {}
    for name, array in original.items():
        values = np.asarray(array, np.float64).reshape(-1)
        energy = float(values @ values)
        alike = {}
        for other, rivals in flat.items():
            if rivals.size != values.size or not 0 < energies[other] < np.inf or not 0 < energy < np.inf:
                continue
            product = float(values @ rivals)
            if product > 0:
                # The least noise that any scale factor leaves.
                noise = max(energy - product**2 / energies[other], 0.0)
                alike[other] = min(sqnr_db(energy, noise), _EXACT_DB), product / energies[other]
        best = max((each for each, _ in alike.values()), default=0.0)
        if best >= _SAME_DB:
            first = next(other for other, (each, _) in alike.items() if each >= best - _AS_GOOD_DB)
            found[name] = Match(first, alike[first][1])
    return found


def in_place_of(original: Arrays, candidate: Arrays, matches: Mapping[str, Match]) -> Arrays:
    """An artifact's tensors under the original's names, in its order, shape `[n, ...]` and unit.

    Args:
        original: Arrays `[n, ...]` by name.
        candidate: The artifact's by its own names, which are those of the float32 artifact that was matched.
        matches: From `match`.
    """
    return {
        name: candidate[found.tensor].reshape(original[name].shape) * np.float32(found.scale)
        for name, found in matches.items()
        if found.tensor in candidate and candidate[found.tensor].size == original[name].size
    }


def compare_layers(
    artifact: str, original: Arrays, candidate: Arrays, matches: Mapping[str, Match]
) -> tuple[LayerCheck, ...]:
    """Measure an artifact's tensors against the original's, in the original's order of computation.

    Args:
        artifact: Path within the export.
        original: Arrays `[n, ...]` by `layer:role`.
        candidate: The artifact's, as `in_place_of` gives them.
        matches: From `match`.
    """
    checks = []
    for name, values in candidate.items():
        layer, _, role = name.rpartition(":")
        measured = distance(original[name], values)
        checks.append(
            LayerCheck(
                artifact,
                layer,
                role,
                matches[name].tensor,
                values.shape,
                measured.sqnr_db,
                measured.max_error,
            )
        )
    return tuple(checks)


def losses(checks: Sequence[LayerCheck], sources: Mapping[str, Sequence[str]]) -> tuple[float, ...]:
    """How many dB each tensor of an artifact is below the worst of those that it is computed from.

    Args:
        checks: Of one artifact.
        sources: By tensor, the tensors that its operator takes.

    Returns:
        One a check: negative where errors average out, infinite where everything before is exact, 0 where the tensor
        is exact itself, or one that stands in an earlier check, too.
    """
    known = {check.tensor: check.sqnr_db for check in checks}
    found: list[float] = []
    seen: set[str] = set()
    for check in checks:
        worst = min((known[each] for each in _nearest(check.tensor, sources, known)), default=np.inf)
        is_new = check.tensor not in seen and check.sqnr_db != worst
        found.append(float(worst - check.sqnr_db) if is_new else 0.0)
        seen.add(check.tensor)
    return tuple(found)


def attention_maps(source: str, tensors: Arrays, sample: int = 0) -> tuple[AttentionMap, ...]:
    """The attention weights of one sample, of every attention among the tensors.

    Args:
        source: "Keras", or the artifact's path within the export.
        tensors: Arrays `[n, ...]` by `layer:role`, the original's or as `in_place_of` gives them.
        sample: Which of the n.
    """
    maps = []
    for name, array in tensors.items():
        layer, _, role = name.rpartition(":")
        # With one head [n, queries, keys] in ours; Keras's own has its heads always.
        if array.ndim in _ATTENTION_RANKS.get(role, ()):
            weights = array[sample]
            maps.append(AttentionMap(layer, source, weights if weights.ndim == 3 else weights[None]))
    return tuple(maps)


def _nearest(tensor: str, sources: Mapping[str, Sequence[str]], known: Mapping[str, float]) -> set[str]:
    """The known tensors that a tensor is computed from, with none between."""
    found, seen, waiting = set(), {tensor}, list(sources.get(tensor, ()))
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        if each in known:
            found.add(each)
        else:
            waiting += sources.get(each, ())
    return found
