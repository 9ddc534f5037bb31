"""What a request ends with: the canonical codes of google.rpc.Code, which gRPC and HTTP are translated from."""

from __future__ import annotations

from bisect import bisect_right
from enum import IntEnum
from urllib.parse import quote

from attnexport.core.errors import CodecError, ContentError, GateError, ServingError, first_line


class Code(IntEnum):
    """The canonical codes, by their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# As TF Serving answers over HTTP; what is not here is 500.
HTTP_STATUS = {
    Code.OK: 200, Code.CANCELLED: 499, Code.INVALID_ARGUMENT: 400, Code.DEADLINE_EXCEEDED: 504, Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409, Code.PERMISSION_DENIED: 403, Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400, Code.ABORTED: 409, Code.OUT_OF_RANGE: 400, Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503, Code.UNAUTHENTICATED: 401,
}  # fmt: skip


_MAX_TEXT = 3000  # characters
_MAX_BYTES = 6000  # as gRPC sends them, among the trailers, of which clients take 8 KB
_SENT_AS_THEY_ARE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")  # of other characters each byte becomes three


class StatusError(ServingError):
    """A request that this server refuses, or fails at.

    Attributes:
        code: How it ends, in TF Serving's terms.
    """

    def __init__(self, code: Code, text: str) -> None:
        most = bisect_right(range(1, min(len(text), _MAX_TEXT) + 1), _MAX_BYTES, key=lambda count: _sent(text[:count]))
        super().__init__(text if len(text) <= most else f"{text[:most]}...")
        self.code = code


def _sent(text: str) -> int:
    """The bytes that gRPC sends for a text."""
    return len(quote(text, safe=_SENT_AS_THEY_ARE, errors="surrogatepass"))


def invalid(text: str) -> StatusError:
    """The request itself is wrong."""
    return StatusError(Code.INVALID_ARGUMENT, text)


def status_of(error: BaseException) -> StatusError:
    """Any failure of a request as a status; what nobody foresaw is INTERNAL."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, CodecError | ContentError | GateError):  # a model's own failures say which code they have
        return StatusError(Code(getattr(error, "code", Code.INVALID_ARGUMENT)), str(error))
    if isinstance(error, MemoryError):
        return StatusError(Code.RESOURCE_EXHAUSTED, f"out of memory: {first_line(error)}")
    return StatusError(Code.INTERNAL, f"{type(error).__name__}: {first_line(error)}; this is a bug of attnexport")
