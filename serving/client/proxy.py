"""The HTTP proxies that gRPC takes from the environment, and the addresses that they are not for."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

# In gRPC's order; it reads the lower-case names only.
_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
_SCHEME = re.compile(r"(dns|ipv4|ipv6):(//[^/]*/)?")


@dataclass(frozen=True)
class Proxy:
    """A proxy that a connection goes through.

    Attributes:
        location: Host and port of the proxy.
        variable: The environment variable that names it.
        host: The host that is connected to.
    """

    location: str
    variable: str
    host: str


def is_loopback(address: str) -> bool:
    """Whether an address is on this machine: localhost, 127.0.0.1, ::1 or a unix socket.

    Example:
        >>> [is_loopback(each) for each in ("localhost:8500", "[::1]:8500", "unix:/tmp/s", "models.example:8500")]
        [True, True, True, False]
    """
    if address.startswith("unix:"):
        return True
    host = _host(address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_of(address: str) -> Proxy | None:
    """The proxy that gRPC connects to an address through, as its documentation says; None for a direct connection."""
    if is_loopback(address):
        return None
    host = _host(address)
    exceptions = next((os.environ[name] for name in _EXCEPTIONS if os.environ.get(name)), "")
    if any(host.endswith(each.strip()) for each in exceptions.split(",") if each.strip()):
        return None
    for variable in _VARIABLES:
        url = os.environ.get(variable)
        if url:
            return Proxy(_location(url), variable, host)
    return None


def _host(address: str) -> str:
    """The host in an address."""
    return _SCHEME.sub("", address, count=1).rpartition(":")[0].strip("[]")


def _location(url: str) -> str:
    """A proxy's URL without the user's name and password."""
    return urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[2]
