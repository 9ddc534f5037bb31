"""The original's outputs: what every artifact is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from attnexport.core.errors import AttnexportError
from attnexport.core.runner import Runner
from attnexport.core.signature import Array, Arrays

from .checks import Batch
from .mismatch import is_float, not_finite
from .running import run_for_comparison

_ROUNDING = 1e-5  # of the greatest value: what the batch's size alone may change, as kernels add up in another order


def reference_outputs(reference: Runner, batch: Batch) -> Arrays | None:
    """The original's outputs; None if it fails on an edge case, or gives NaN: nothing can be compared with that."""
    try:
        return _finite(batch, run_for_comparison(reference, batch.inputs, signature=batch.signature))
    except AttnexportError:
        if batch.is_edge:
            return None
        raise


def outputs_in_few_calls(reference: Runner, batches: Sequence[Batch]) -> dict[str, Arrays | None] | None:
    """The original's outputs on edge cases, those of the same shapes in one call.

    A model that runs layer by layer takes as long for two samples as for twenty. A case whose number of samples no
    other has is there for that number, and is run alone. In the common call it must give the same: otherwise a sample's
    outputs depend on its batch.

    Args:
        reference: The original.
        batches: Edge cases of one signature.

    Returns:
        The outputs by case, None as in `reference_outputs`. None for all if no call is saved, or a sample's outputs
        depend on its batch.

    Example:
        >>> from attnexport.core import Signature, TensorSpec
        >>> class Centred:
        ...     spec = TensorSpec("x", "float32", (None, 2))
        ...     signatures = {"serving_default": Signature("serving_default", (spec,), (spec,))}
        ...     def __init__(self, axis):
        ...         self.axis = axis
        ...     def run(self, inputs, signature="serving_default"):
        ...         return {"x": inputs["x"] - inputs["x"].mean(axis=self.axis, keepdims=True)}
        >>> cases = [Batch(f"{n}, {k}", {"x": np.eye(n, 2, dtype=np.float32) * k}) for n, k in ((3, 1), (3, 2), (1, 3))]
        >>> sorted(outputs_in_few_calls(Centred(axis=1), cases))
        ['1, 3', '3, 1', '3, 2']
        >>> outputs_in_few_calls(Centred(axis=0), cases) is None
        True
    """
    signature = reference.signatures[batches[0].signature]
    if not signature.is_batched or signature.fixed_batch is not None:
        return None
    found: dict[str, Arrays | None] = {}
    for alike in _alike(batches):
        sizes = Counter(map(_size, alike))
        alone = [each for each in alike if sizes[_size(each)] == 1]
        found |= {each.case: reference_outputs(reference, each) for each in alone}
        if len(alone) == len(alike):
            continue
        if not alone or not _add_common(reference, alike, found):
            return None
    return found if len(found) == len(batches) else None


def _add_common(reference: Runner, batches: Sequence[Batch], found: dict[str, Arrays | None]) -> bool:
    """Add what one call gives for the cases not found yet; false if the others come out differently in it."""
    names = batches[0].inputs
    joined = {name: np.concatenate([each.inputs[name] for each in batches]) for name in names}
    try:
        outputs = run_for_comparison(reference, joined, signature=batches[0].signature)
    except AttnexportError:
        return False
    ends = np.cumsum([_size(each) for each in batches])
    if any(array.shape[:1] != (ends[-1],) for array in outputs.values()):
        return False
    common = {}
    for batch, end in zip(batches, ends, strict=True):
        part = {name: array[end - _size(batch) : end] for name, array in outputs.items()}
        if batch.case not in found:
            common[batch.case] = _finite(batch, part)
        elif not _same(found[batch.case], part):
            return False
    found |= common
    return True


def _alike(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Batches by the shapes and types of their samples, whatever their number."""
    forms: dict[object, list[Batch]] = {}
    for batch in batches:
        form = tuple((name, array.shape[1:], array.dtype.str) for name, array in sorted(batch.inputs.items()))
        forms.setdefault(form, []).append(batch)
    return list(forms.values())


def _size(batch: Batch) -> int:
    return len(next(iter(batch.inputs.values())))


def groups(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """The edge cases of a signature that follow each other together, and every other batch alone."""
    for (is_edge, _), found in groupby(batches, key=lambda batch: (batch.is_edge, batch.signature)):
        if is_edge:
            yield list(found)
        else:
            yield from ([batch] for batch in found)


def _finite(batch: Batch, outputs: Arrays) -> Arrays | None:
    finite = all(not_finite(each) is None for each in outputs.values() if is_float(each))
    return outputs if finite or not batch.is_edge else None


def _same(alone: Arrays | None, together: Arrays) -> bool:
    return (
        alone is not None
        and alone.keys() == together.keys()
        and all(_agree(array, together[name]) for name, array in alone.items())
    )


def _agree(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not is_float(one):
        return np.array_equal(one, other)
    one, other = one.astype(np.float64), other.astype(np.float64)
    return bool(np.allclose(one, other, rtol=0.0, atol=_ROUNDING * np.abs(one).max(initial=0.0)))
