"""The tensors inside an artifact, compared with the original's: where the error comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attnexport.core.signature import Array, Arrays

from .metrics import distance, sqnr_db

# A tensor of the float32 artifact matches the original's if their SQNR, up to a scale factor, is at least the first of
# these and at most the second below the best match: other tensors may be alike. Above the third is float32's rounding.
_SAME_DB, _AS_GOOD_DB, _EXACT_DB = 60.0, 10.0, 110.0
# Ranks of attention weights by role: our layers', and the layer inside Keras's own attention.
_ATTENTION_RANKS = {"softmax": (3, 4), "Softmax": (4,)}


@dataclass(frozen=True)
class LayerCheck:
    """One tensor of the original, compared with its counterpart in an artifact.

    Attributes:
        artifact: Path within the export.
        layer: Path of the Keras layer that computes it.
        role: Its part in the layer: scores, softmax, context, concatenation, dense..., or an operator's name.
        tensor: Its name in the artifact.
        shape: `[n, ...]`, n counting samples.
        sqnr_db: SQNR in dB, without the scale factor between the two.
        max_error: Greatest absolute error, in the original's unit.
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
    """The counterpart of an original's tensor, which is `scale` times the artifact's `tensor`."""

    tensor: str
    scale: float


def match(original: Arrays, candidate: Arrays) -> dict[str, Match]:
    """Match the tensors of an original with those of a float32 artifact, by their values up to a scale factor.

    Names do not match: converters fuse operators, fold scale factors into weights, and name the result after its last
    part. If several tensors hold the same values, in any shape, the one computed first is taken.

    Args:
        original: Arrays `[n, ...]` by name, in the order of computation.
        candidate: The artifact's, on the same samples.

    Returns:
        Matches by the original's name; tensors that are zero, not finite or without a counterpart are left out.

    Example:
        >>> traced = {"dense": np.array([[1.0, 2.0]]), "softmax": np.array([[0.3, 0.7]])}
        >>> match(traced, {"t0": np.array([[0.5, 1.0]]), "t1": np.array([[0.1, 0.9]])})
        {'dense': Match(tensor='t0', scale=2.0)}
    """
    flat = {name: np.asarray(array, np.float64).reshape(-1) for name, array in candidate.items()}
    energies = {name: float(values @ values) for name, values in flat.items()}
    matches = {}
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
            matches[name] = Match(first, alike[first][1])
    return matches


def in_place_of(original: Arrays, candidate: Arrays, matches: Mapping[str, Match]) -> Arrays:
    """An artifact's tensors with the original's names, order, shapes and units.

    Args:
        original: Arrays `[n, ...]` by name.
        candidate: The artifact's, by the tensor names of the float32 artifact that was matched.
        matches: From `match`.
    """
    return {
        name: candidate[each.tensor].reshape(original[name].shape) * np.float32(each.scale)
        for name, each in matches.items()
        if each.tensor in candidate and candidate[each.tensor].size == original[name].size
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
    """How many dB each tensor of an artifact is below the worst of those it is computed from.

    Args:
        checks: The checks of one artifact.
        sources: The inputs of each tensor's operator, by tensor.

    Returns:
        One loss a check: negative if errors average out, infinite if everything before is exact, 0 if the tensor itself
        is exact or an earlier check has it.
    """
    known = {check.tensor: check.sqnr_db for check in checks}
    lost: list[float] = []
    seen: set[str] = set()
    for check in checks:
        worst = min((known[each] for each in _nearest(check.tensor, sources, known)), default=np.inf)
        is_new = check.tensor not in seen and check.sqnr_db != worst
        lost.append(float(worst - check.sqnr_db) if is_new else 0.0)
        seen.add(check.tensor)
    return tuple(lost)


def attention_maps(source: str, tensors: Arrays, sample: int = 0) -> tuple[AttentionMap, ...]:
    """The attention weights of one sample, for every attention layer among the tensors.

    Args:
        source: "Keras", or the artifact's path within the export.
        tensors: Arrays `[n, ...]` by `layer:role`, the original's or as `in_place_of` gives them.
        sample: Number of the sample, from 0.
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
    """The known tensors that a tensor is computed from directly, or through unknown ones."""
    nearest, seen, waiting = set(), {tensor}, list(sources.get(tensor, ()))
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        if each in known:
            nearest.add(each)
        else:
            waiting += sources.get(each, ())
    return nearest
