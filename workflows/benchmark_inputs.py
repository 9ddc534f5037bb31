"""One call for all artifacts that are measured side by side: the same samples of the same shapes, where they can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from attnexport.core.errors import ModelError
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature

_FREE_BATCH = 1
_FREE_SIZE = 32  # of any other dimension that no artifact fixes


@dataclass(frozen=True)
class Call:
    """What an artifact is called with: its signature, the shapes of its inputs by name, and how many samples."""

    signature: str
    shapes: Mapping[str, tuple[int, ...]]
    samples: int

    def inputs(self, signatures: Mapping[str, Signature]) -> Arrays:
        """Made up, the same for every artifact that takes the same shapes."""
        from attnexport.core.samples import synthetic_samples

        specs = sorted(signatures[self.signature].inputs, key=lambda spec: spec.name)
        return synthetic_samples([replace(spec, shape=self.shapes[spec.name]) for spec in specs], None).inputs


def choose_signature(signatures: Mapping[str, Signature]) -> Signature:
    """`serving_default`, or else the first by name.

    Raises:
        ModelError: where there is none.
    """
    if not signatures:
        raise ModelError("it has no signatures; convert it again from a SavedModel, which has")
    return signatures.get(DEFAULT_SIGNATURE) or signatures[min(signatures)]


def same_calls(signatures: Sequence[Signature]) -> list[Call]:
    """Calls of signatures, in their order, that do the same work where they can.

    What one leaves free is as the others fix it, those that fix the most first; what none fixes is a batch of 1 and 32
    of anything else. Inputs are matched in the order of their names, or by their names where there are more of one
    than of another.
    """
    by_order = len({len(each.inputs) for each in signatures}) == 1

    def keyed(signature: Signature) -> dict[str, int | str]:
        names = sorted(spec.name for spec in signature.inputs)
        return {name: number if by_order else name for number, name in enumerate(names)}

    shapes: dict[int | str, tuple[int, ...]] = {}
    sizes: dict[tuple[int | str, int, int], int] = {}
    for signature in sorted(signatures, key=_free):
        for spec in signature.inputs:
            for axis, size in enumerate(spec.shape or ()):
                if size is not None:
                    sizes.setdefault((keyed(signature)[spec.name], len(spec.shape or ()), axis), size)
    calls: dict[int, Call] = {}
    for number, signature in sorted(enumerate(signatures), key=lambda each: _free(each[1])):
        found = {}
        for spec in signature.inputs:
            key = keyed(signature)[spec.name]
            wanted = spec.shape if spec.shape is not None else shapes.get(key, (None,))
            default = [_FREE_BATCH if signature.is_batched else _FREE_SIZE] + [_FREE_SIZE] * len(wanted)
            found[spec.name] = tuple(
                sizes.get((key, len(wanted), axis), default[axis]) if size is None else size
                for axis, size in enumerate(wanted)
            )
            shapes.setdefault(key, found[spec.name])
        batches = {shape[0] for shape in found.values() if shape} if signature.is_batched else set()
        calls[number] = Call(signature.name, found, batches.pop() if len(batches) == 1 else 1)
    return [calls[number] for number in range(len(signatures))]


def differences(calls: Mapping[str, Call]) -> list[str]:
    """What is not the same for all, a sentence each; nothing where all do the same work."""
    notes = []
    batches = {name: call.samples for name, call in calls.items()}
    if len(set(batches.values())) > 1:
        notes.append(f"samples in a call differ ({_told(batches)}), so speed is that of a sample")
    rests = {name: _rest(call) for name, call in calls.items()}
    if len(set(rests.values())) > 1:
        notes.append(f"shapes differ apart from the batch ({_told(rests)}), so their latencies do not compare")
    return notes


def _free(signature: Signature) -> int:
    """How many dimensions are free; more than any where not even the rank is known."""
    return sum(1000 if spec.shape is None else spec.shape.count(None) for spec in signature.inputs)


def _rest(call: Call) -> str:
    shapes = sorted(shape[1:] for shape in call.shapes.values())
    return ", ".join("[" + ", ".join(map(str, shape)) + "]" for shape in shapes)


def _told(values: Mapping[str, int | str]) -> str:
    """Each value with the first artifact that has it."""
    first: dict[int | str, str] = {}
    for name, value in values.items():
        first.setdefault(value, name)
    return "; ".join(f"{name}: {value}" for value, name in first.items())
