"""Large batches sent in parts, and their replies joined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnexport.core.errors import ArgumentError, ServingError
from attnexport.core.signature import Arrays, Signature, format_shape
from attnexport.serving.codec import PredictAnswer, ServedModel

from .responses import Prediction


def sample_count(arrays: Arrays) -> int:
    """The samples in a request: the common first dimension, or 1 if there is none."""
    count = _common_size(arrays)
    return 1 if count is None else count


def exceeds(arrays: Arrays, max_batch: int | None) -> bool:
    """Whether the inputs have a common first dimension that is larger than `max_batch`."""
    count = _common_size(arrays)
    return max_batch is not None and count is not None and count > max_batch


def can_be_split(signature: Signature, outputs: Sequence[str], max_batch: int) -> bool:
    """Whether a signature declares that its first dimension is a batch that parts of `max_batch` samples fit.

    Every input's first dimension is free, and every output's too; or all are fixed to `max_batch`.

    Args:
        signature: The signature.
        outputs: The outputs that are asked for; all if empty.
        max_batch: Samples in a part.
    """
    without = signature.tensors_without_batch(outputs)
    if not without:
        return True
    specs = [*signature.inputs, *(spec for spec in signature.outputs if not outputs or spec.name in outputs)]
    return len(without) == len(specs) and all(spec.shape and spec.shape[0] == max_batch for spec in specs)


def check_batch(signature: Signature, max_batch: int) -> None:
    """Refuse to split a signature whose first dimension is not a batch.

    Raises:
        ArgumentError: naming the input or output that shows it.
    """
    if can_be_split(signature, (), max_batch):
        return
    first = {spec.shape[0] if spec.shape else None for spec in signature.inputs}
    fixed = first.pop() if len(first) == 1 else None
    for what, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if not spec.shape or spec.shape[0] != fixed:
                raise ArgumentError(
                    f"a batch of {max_batch} is not possible: {what} {spec.name!r} of signature {signature.name!r} has "
                    f"shape {format_shape(spec.shape)}, whose first dimension is not a batch; its inputs are sent whole"
                )
    raise ArgumentError(f"a batch of {max_batch} is not possible: signature {signature.name!r} has a batch of {fixed}")


def parts_of(arrays: Arrays, max_batch: int) -> list[Arrays]:
    """The inputs in parts of at most `max_batch` samples."""
    count = sample_count(arrays)
    return [
        {name: array[start : start + max_batch] for name, array in arrays.items()}
        for start in range(0, count, max_batch)
    ]


def joined(answers: list[PredictAnswer], counts: list[int], model: ServedModel) -> Prediction:
    """The replies to the parts, in order, as one.

    Raises:
        ServingError: if an output of a part does not hold as many rows as the part had samples.
    """
    versions = tuple(sorted({each.model.version for each in answers if each.model.version is not None}))
    if len(answers) == 1:
        return Prediction(answers[0].outputs, model.name, versions)
    outputs: Arrays = {}
    for name in answers[0].outputs:
        parts = [each.outputs.get(name) for each in answers]
        for part, count in zip(parts, counts, strict=True):
            if part is None or part.shape[:1] != (count,):
                shape = None if part is None else list(part.shape)
                raise ServingError(
                    f"model {model.name!r}: output {name!r} of a part of {count} samples has shape {shape}, "
                    "so the parts cannot be joined; send it whole, with a larger max_batch",
                    model=model.name,
                )
        outputs[name] = np.concatenate([part for part in parts if part is not None])
        outputs[name].flags.writeable = False
    return Prediction(outputs, model.name, versions)


def _common_size(arrays: Arrays) -> int | None:
    sizes = {array.shape[0] if array.ndim else None for array in arrays.values()}
    return sizes.pop() if len(sizes) == 1 else None
