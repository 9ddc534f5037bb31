"""What the gRPC edge and the REST edge share."""

from __future__ import annotations

import socket
from collections.abc import Callable

from .status import Code

MAX_WAITING = 1000  # requests of REST that run or wait for a thread
MAX_CALLS = 4000  # of gRPC that are open; those without a message, too, of which a flood is ended in a moment

OnAccess = Callable[[str, str, str, Code, float], None]


def family(host: str) -> socket.AddressFamily:
    """The address family of a host; names are looked up in IPv4."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def no_access_log(entrypoint: str, api: str, model: str, code: Code, seconds: float) -> None:
    """Write no access log."""
