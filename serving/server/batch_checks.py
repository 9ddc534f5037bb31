"""Which requests and signatures have a batch, by TF Serving's rules for `--enable_batching`.

A request without a batch (a scalar input, inputs of different sizes) is refused, and so is an output whose first
dimension is not the batch, even for one request: slicing it would give each client a part of one answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from attnexport.core.signature import Arrays, Signature

from .status import Code, StatusError, invalid


def batch_size(inputs: Arrays) -> int:
    """The first dimension of a request's inputs.

    Raises:
        StatusError: INVALID_ARGUMENT if they have none, or different ones.
    """
    help_text = "The server runs with --enable_batching"
    if not inputs:
        raise invalid(f"Batching Run() must have at least one input tensor. {help_text}")
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid(f"Batching Run() input tensors must have at least one dimension. {help_text}")
    sizes = {name: len(array) for name, array in inputs.items()}
    if len(set(sizes.values())) > 1:
        raise invalid(f"Batching Run() input tensors must have equal 0th-dimension size; received {sizes}. {help_text}")
    return next(iter(sizes.values()))


def check_batch(outputs: Arrays, size: int) -> Arrays:
    """The outputs themselves, if the first dimension of each is the batch.

    Raises:
        StatusError: FAILED_PRECONDITION if an output has another first dimension.
    """
    for name, array in outputs.items():
        if array.ndim == 0:
            text = "Batched output tensor has 0 dimensions"
        elif len(array) != size:
            text = (
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
        else:
            continue
        raise StatusError(
            Code.FAILED_PRECONDITION,
            f"{text}: output {name!r} has shape {list(array.shape)} for a batch of {size}; serve this model without "
            "--enable_batching",
        )
    return outputs


def unbatched_tensors(signature: Signature) -> list[str]:
    """The tensors of a signature whose declared shapes have no free batch dimension.

    Example:
        >>> from attnexport.core.signature import TensorSpec
        >>> x, total = TensorSpec("x", "float32", (None, 3)), TensorSpec("total", "float32", ())
        >>> unbatched_tensors(Signature("sum", (x,), (total,)))
        ['total: float32 []']
    """
    return [str(spec) for spec in signature.tensors_without_batch() if spec.shape is not None]


def is_joinable(signature: Signature, outputs: Sequence[str]) -> bool:
    """Whether the declared shapes allow for any batch; those of the wanted outputs alone, if these are named."""
    return all(spec.shape is None for spec in signature.tensors_without_batch(outputs))
