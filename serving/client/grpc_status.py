"""gRPC's status codes as errors of this package: the one place that translates them."""

from __future__ import annotations

import re

import grpc

from attnexport.core.errors import DeadlineError, NotFoundError, RefusedError, ServingError, UnavailableError

from .proxy import Proxy, proxy_of

_KINDS: dict[grpc.StatusCode, type[ServingError]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: RefusedError,
    grpc.StatusCode.FAILED_PRECONDITION: RefusedError,
    grpc.StatusCode.OUT_OF_RANGE: RefusedError,
    grpc.StatusCode.UNIMPLEMENTED: RefusedError,
    grpc.StatusCode.UNAUTHENTICATED: RefusedError,
    grpc.StatusCode.PERMISSION_DENIED: RefusedError,
}

# What gRPC says about a connection that was not made or broke, and what it means.
_REASONS = (
    (r"Connection refused", "connection refused; is the server running, and on that port?"),
    (r"Domain name not found|Misformatted domain name|name resolution", "there is no host of that name"),
    (r"certificate has expired", "its certificate has expired"),
    (r"certificate is not yet valid", "its certificate is not yet valid"),
    (
        r"CERTIFICATE_VERIFY_FAILED: (?P<why>[^:]+)",
        "its certificate is not trusted ({why}); give the CA that signed it",
    ),
    (r"Hostname Verification Check failed", "its certificate is for another name; give that as the TLS server name"),
    (r"WRONG_VERSION_NUMBER", "it does not speak TLS; connect without"),
    (r"Failed to create security handshaker", "the given certificates cannot be used"),
    (r"before receiving SETTINGS frame", "something listens there but does not answer, or does not speak gRPC"),
    (
        r"last error: UNAVAILABLE: \S+: Socket closed",
        "it closed the connection at once; it may require TLS, or a client's certificate",
    ),
    (r"Trying to connect an http1\.x server|Received http2 header with status", "it speaks HTTP, not gRPC"),
    (r"Socket closed|Connection reset|Broken pipe|GOAWAY", "the connection broke during the call"),
    (r"keepalive watchdog timeout|ping timeout", "the connection went silent"),
)


# What a server says whose thread pool is full: TF Serving (gRPC's C++ server), and gRPC's Python server. A message that
# is too large has the same status, and will not be smaller the next time.
_BUSY = re.compile(r"Threadpool Exhausted|Concurrent RPC limit exceeded")


def translate(
    code: grpc.StatusCode | None, details: str | None, address: str, timeout: float, proxy: Proxy | None = None
) -> ServingError:
    """The error that a failed call becomes.

    Args:
        code: The status.
        details: What came with it: the server's words, or gRPC's own.
        address: The server, for the message.
        timeout: The call's timeout in seconds, for the message.
        proxy: What gRPC connects through, if anything.
    """
    kind = _KINDS.get(code, ServingError) if code else ServingError
    words = " ".join((details or "").split())
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _BUSY.search(words):
        kind, words = UnavailableError, f"all its threads are busy ({words})"  # soon one is free
    if code is grpc.StatusCode.CANCELLED and words in ("", code.name):
        # The client cancels no call that it waits for. A server that stops resets, without a word, calls that it
        # never took up.
        kind, words = UnavailableError, "it stopped during the call"
    if kind is DeadlineError:
        text = f"{address}: no answer within {timeout:.3g} s{_through(proxy)}"
    elif kind is UnavailableError and proxy is not None:
        text = f"{address} is unavailable{_through(proxy)}: {words or 'no reason given'}"
    elif kind is UnavailableError:
        text = f"{address} is unavailable: {_reason(words)}"
    else:
        name = code.name if code else "UNKNOWN"
        text = f"{address}: {words or 'no reason given'} ({name})"
    return kind(text, address=address)


def error_from(error: Exception, address: str, timeout: float) -> ServingError:
    """The error that an exception of gRPC becomes; all that calls raise have a code and details."""
    code = error.code() if hasattr(error, "code") else None
    details = error.details() if hasattr(error, "details") else str(error)
    return translate(code, details, address, timeout, proxy_of(address))


def _through(proxy: Proxy | None) -> str:
    if proxy is None:
        return ""
    return f" through the proxy {proxy.location} (from {proxy.variable}; no_proxy={proxy.host} connects without it)"


def _reason(words: str) -> str:
    for pattern, reason in _REASONS:
        match = re.search(pattern, words)
        if match:
            return reason.format(**match.groupdict())
    return words or "no reason given"
