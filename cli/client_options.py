"""The options that say which server and model a command asks, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ArgumentError

from .command import Choice

if TYPE_CHECKING:
    from attnexport.serving import Client

DEFAULT_SERVER = "127.0.0.1:8500"  # where TF Serving and the embedded server listen unless told otherwise

_OPTIONS = (
    click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds that a call may take."),
    click.option("--tls", is_flag=True, help="Connect by TLS; the system's authorities are trusted unless --tls-ca."),
    click.option("--tls-ca", metavar="FILE", help="Connect by TLS; who signed the server's certificate."),
    click.option("--tls-cert", metavar="FILE", help="The client's own certificate."),
    click.option("--tls-key", metavar="FILE", help="The key of --tls-cert."),
    click.option("--tls-server-name", metavar="NAME", help="The name in the server's certificate, if it is another."),
    click.option("--header", "headers", metavar="NAME=VALUE", multiple=True, help="A header of every call."),
    click.option(
        "--compression", type=Choice("compression", ("gzip", "deflate")), help="Compress requests and replies."
    ),
)


def client_options(function: Callable[..., Any], *, required: bool = True) -> Callable[..., Any]:
    """Add the server, the model and how to connect to a command.

    Args:
        function: The command.
        required: Whether the command always asks a server; else --server has no default, and --model may be missing.
    """
    server = click.option(
        "--server",
        "servers",
        metavar="HOST:PORT",
        multiple=True,
        default=(DEFAULT_SERVER,) if required else (),
        show_default=required,
        help="The gRPC address of a server; repeat it for several that serve the same, which are asked in turn.",
    )
    model = click.option("--model", required=required, help="The name that the model is served under.")
    for option in (*reversed(_OPTIONS), model, server):
        function = option(function)
    return function


def version_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --version and --label to a command."""
    for option in (
        click.option("--label", help="The version that has this label."),
        click.option("--version", type=click.IntRange(0), help="The version. [the newest]"),
    ):
        function = option(function)
    return function


def connect(options: dict[str, Any], **more: Any) -> Client:
    """A client as the options say."""
    from attnexport.serving import Client

    return Client(
        options["servers"],
        model=options["model"],
        timeout=options["timeout"],
        tls=_tls(options),
        metadata=dict(_header(text) for text in options["headers"]),
        compression=options["compression"],
        **more,
    )


def _tls(options: dict[str, Any]) -> Any:
    from attnexport.serving import Tls

    names = {"ca": "tls_ca", "certificate": "tls_cert", "key": "tls_key", "server_name": "tls_server_name"}
    given = {name: options[key] for name, key in names.items() if options[key] is not None}
    return Tls(**given) if given or options["tls"] else None


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentError(f"--header {text!r} is not NAME=VALUE")
    return name.lower(), value
