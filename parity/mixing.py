"""Whether a model's answer to a sample depends on the other samples of its batch."""

from __future__ import annotations

from attnexport.core.errors import AttnexportError
from attnexport.core.runner import Runner
from attnexport.parity.comparison import Case

from .metrics import distance

_SAME_DB = 30.0  # kernels for other batches round otherwise, in bfloat16 by 40 dB
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
    count = min(_TRIED, *(len(array) for array in (*case.inputs.values(), *case.expected.values()) if array.ndim))
    for index in range(count if count == _TRIED else 0):
        try:
            single = {name: array[index : index + 1] for name, array in case.inputs.items()}
            alone = reference.run(single, case.signature)
        except AttnexportError:  # a model of larger batches alone
            return None
        for name, together in case.expected.items():
            one, same = alone[name], together[index : index + 1]
            if one.dtype.kind == "f" and one.shape == same.shape and distance(same, one).sqnr_db < _SAME_DB:
                return name
    return None
