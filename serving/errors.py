"""The errors that clients raise; they are those of attnexport.core, which draws their tree."""

from attnexport.core.errors import (
    ArgumentError,
    AttnexportError,
    CodecError,
    ContentError,
    DeadlineError,
    NotFoundError,
    RefusedError,
    SamplesError,
    ServingError,
    UnavailableError,
)

__all__ = [
    "ArgumentError",
    "AttnexportError",
    "CodecError",
    "ContentError",
    "DeadlineError",
    "NotFoundError",
    "RefusedError",
    "SamplesError",
    "ServingError",
    "UnavailableError",
]
