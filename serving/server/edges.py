"""What the gRPC edge and the REST edge share."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from attnexport.core.errors import StorageError

from .status import Code

MAX_WAITING = 1000  # requests of REST that run or wait for a thread
MAX_CALLS = 4000  # of gRPC that are open; those without a message, too, of which a flood is ended in a moment

OnAccess = Callable[[str, str, str, Code, float], None]


def family(host: str) -> socket.AddressFamily:
    """The address family of a host; names are looked up in IPv4."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def no_access_log(entrypoint: str, api: str, model: str, code: Code, seconds: float) -> None:
    """Write no access log."""


def why_not(error: OSError, option: str) -> str:
    """What keeps an edge from its port, which the option names."""
    if error.errno == errno.EADDRINUSE:
        return f"another server is there; give another {option}, or stop it"
    return f"{error.strerror or error}"


def reserve(host: str, port: int) -> socket.socket:
    """Take a port of gRPC that several processes will listen on; 0 takes a free one.

    Raises:
        StorageError: if it is taken.
    """
    reserved = socket.socket(family(host))
    try:
        with socket.create_server((host, port), family=family(host)) as alone:  # nobody else has it, sharing or not
            port = alone.getsockname()[1]
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):  # connections of a server before may linger
            reserved.setsockopt(socket.SOL_SOCKET, option, 1)
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        raise StorageError(f"gRPC cannot listen on {host}:{port}: {why_not(error, '--port')}") from error
    return reserved
