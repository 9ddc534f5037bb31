"""The calls of artifacts measured side by side: the same samples of the same shapes, if their signatures allow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from attnexport.core.errors import ModelError
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature

_FREE_BATCH = 1  # size of a batch that no artifact fixes
_FREE_SIZE = 32  # size of any other dimension that no artifact fixes


@dataclass(frozen=True)
class Call:
    """A call of an artifact.

    Attributes:
        signature: The signature to call.
        shapes: Shapes of its inputs, by name.
        samples: Samples in the call.
    """

    signature: str
    shapes: Mapping[str, tuple[int, ...]]
    samples: int

    def inputs(self, signatures: Mapping[str, Signature]) -> Arrays:
        """Generated inputs, the same for every artifact that takes the same shapes."""
        from attnexport.core.samples import synthetic_samples

        specs = sorted(signatures[self.signature].inputs, key=lambda spec: spec.name)
        return synthetic_samples([replace(spec, shape=self.shapes[spec.name]) for spec in specs], None).inputs


def choose_signature(signatures: Mapping[str, Signature]) -> Signature:
    """`serving_default`, or if there is none, the first by name.

    Raises:
        ModelError: if there are no signatures.
    """
    if not signatures:
        raise ModelError("it has no signatures; convert it again from a SavedModel")
    return signatures.get(DEFAULT_SIGNATURE) or signatures[min(signatures)]


def same_calls(signatures: Sequence[Signature]) -> list[Call]:
    """Calls of several signatures, in their order, that do the same work if the signatures allow it.

    Free dimensions take the size that another signature fixes, those with the fewest free dimensions first; otherwise
    the batch is 1 and any other dimension 32. Inputs are matched in the order of their names, or by name if the
    signatures have different numbers of inputs.
    """
    by_order = len({len(each.inputs) for each in signatures}) == 1

    def keys(signature: Signature) -> dict[str, int | str]:
        names = sorted(spec.name for spec in signature.inputs)
        return {name: number if by_order else name for number, name in enumerate(names)}

    shapes: dict[int | str, tuple[int, ...]] = {}
    sizes: dict[tuple[int | str, int, int], int] = {}
    for signature in sorted(signatures, key=_free):
        for spec in signature.inputs:
            for axis, size in enumerate(spec.shape or ()):
                if size is not None:
                    sizes.setdefault((keys(signature)[spec.name], len(spec.shape or ()), axis), size)
    calls: dict[int, Call] = {}
    for number, signature in sorted(enumerate(signatures), key=lambda each: _free(each[1])):
        chosen = {}
        for spec in signature.inputs:
            key = keys(signature)[spec.name]
            wanted = spec.shape if spec.shape is not None else shapes.get(key, (None,))
            default = [_FREE_BATCH if signature.is_batched else _FREE_SIZE] + [_FREE_SIZE] * len(wanted)
            chosen[spec.name] = tuple(
                sizes.get((key, len(wanted), axis), default[axis]) if size is None else size
                for axis, size in enumerate(wanted)
            )
            shapes.setdefault(key, chosen[spec.name])
        batches = {shape[0] for shape in chosen.values() if shape} if signature.is_batched else set()
        calls[number] = Call(signature.name, chosen, batches.pop() if len(batches) == 1 else 1)
    return [calls[number] for number in range(len(signatures))]


def differences(calls: Mapping[str, Call]) -> list[str]:
    """The differences between calls, a sentence each; empty if all do the same work."""
    notes = []
    batches = {name: call.samples for name, call in calls.items()}
    if len(set(batches.values())) > 1:
        notes.append(f"samples in a call differ ({_first_of_each(batches)}), so speed is that of a sample")
    rests = {name: _rest(call) for name, call in calls.items()}
    if len(set(rests.values())) > 1:
        notes.append(f"shapes differ apart from the batch ({_first_of_each(rests)}), so their latencies do not compare")
    return notes


def _free(signature: Signature) -> int:
    """Number of free dimensions; very large if a rank is unknown."""
    return sum(1000 if spec.shape is None else spec.shape.count(None) for spec in signature.inputs)


def _rest(call: Call) -> str:
    shapes = sorted(shape[1:] for shape in call.shapes.values())
    return ", ".join("[" + ", ".join(map(str, shape)) + "]" for shape in shapes)


def _first_of_each(values: Mapping[str, int | str]) -> str:
    """Each value with the first artifact that has it."""
    first: dict[int | str, str] = {}
    for name, value in values.items():
        first.setdefault(value, name)
    return "; ".join(f"{name}: {value}" for value, name in first.items())
