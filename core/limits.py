"""Bounds that several packages share."""

from __future__ import annotations

from .errors import ContentError

MAX_VERSION = 2**63 - 1  # TF Serving reads the name of a version's directory as an int64

PRECISIONS = ("float32", "float16", "bfloat16", "dynamic", "int8", "int16x8", "int4")  # the rows of parity's budgets
MAX_JSON_SAMPLES = 1 << 30  # bytes of samples in JSON
MAX_JSON_EXAMPLES = 1 << 28  # bytes of examples, whose features take more memory
_MAX_MEMORY = 1 << 34  # bytes that shapes may ask for at once
MAX_PIPED_ARRAYS = _MAX_MEMORY  # bytes of an .npz or .npy that is not a file


def check_memory(size: int, what: str) -> None:
    """Refuse an array that shapes ask for and no model needs.

    Args:
        size: The bytes that making it takes, or fewer.
        what: What the array is, and who asks for it.

    Raises:
        ContentError: if it is larger than 16 GiB.
    """
    if size > _MAX_MEMORY:
        raise ContentError(f"{what} would take more than {_MAX_MEMORY:,} bytes")
