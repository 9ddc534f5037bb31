"""Whether a model's answer to a sample depends on the other samples of its batch."""

from __future__ import annotations

import numpy as np

from attnexport.core.errors import AttnexportError
from attnexport.core.runner import Runner
from attnexport.core.signature import Array

from .comparison import Case
from .metrics import absolute_errors

_SAME = 0.03  # of the outputs' size: kernels for other batches round otherwise, in bfloat16 by a third of that
_TRIED = 2  # samples: of two, at most one is the greatest of its batch, whose answer may stay


def mixed_output(reference: Runner, case: Case) -> str | None:
    """The first output whose values for a sample are others if that is alone in its batch; None if there is none.

    Args:
        reference: Runs the model.
        case: Several samples with the model's outputs for all of them in one batch.
    """
    signature = reference.signatures[case.signature]
    if not signature.is_batched or signature.fixed_batch is not None or not case.expected:
        return None
    batch = len(next(iter(case.inputs.values())))
    outputs = {name: each for name, each in case.expected.items() if each.shape[:1] == (batch,)}
    for index in range(_TRIED if batch >= _TRIED else 0):
        try:
            single = {name: array[index : index + 1] for name, array in case.inputs.items()}
            alone = reference.run(single, case.signature)
        except AttnexportError:  # a model of larger batches alone
            return None
        for name, joined in outputs.items():
            one, same = alone[name], joined[index : index + 1]
            if one.dtype.kind == "f" and one.shape == same.shape and not _is_same(one, same, joined):
                return name
    return None


def _is_same(one: Array, other: Array, of: Array) -> bool:
    """Whether two outputs of a sample differ by no more than rounding does, at the size of those of all samples."""
    errors, finite = absolute_errors(other, one), of[np.isfinite(of)].astype(np.float64)
    if not finite.size:
        return not errors.any()
    return bool(np.sqrt(np.mean(np.square(errors))) <= _SAME * np.sqrt(np.mean(np.square(finite))))
