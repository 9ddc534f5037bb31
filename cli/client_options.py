"""The options that say which server and model a command queries, and how it connects."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar

import click
from click.core import ParameterSource

from attnexport.core.errors import ArgumentError
from attnexport.core.reading import read_stream
from attnexport.workflows.connection import DEFAULT_SERVER, Connection

from .command import Choice
from .option_groups import grouped
from .terminal import Terminal

Parameters = ParamSpec("Parameters")
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
_Option: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]

_OPTIONS: tuple[_Option, ...] = (
    click.option(
        "--timeout", metavar="SECONDS", type=float, default=30.0, show_default=True, help="Seconds a call may take."
    ),
    click.option("--tls", is_flag=True, help="Connect with TLS, trusting the system's certificate authorities."),
    click.option("--tls-ca", metavar="FILE", help="Connect with TLS, trusting this certificate authority (PEM)."),
    click.option("--tls-cert", metavar="FILE", help="Client certificate (PEM), with --tls-key."),
    click.option("--tls-key", metavar="FILE", help="Private key of --tls-cert (PEM)."),
    click.option(
        "--tls-server-name", metavar="NAME", help="Name in the server's certificate, if it differs from the address."
    ),
    click.option("--header", "headers", metavar="NAME=VALUE", multiple=True, help="Header of every call; repeatable."),
    click.option(
        "--compression", type=Choice("compression", ("gzip", "deflate")), help="Compress requests and replies."
    ),
)

_MODEL, _MODEL_REQUIRED = (
    click.option("--model", metavar="NAME", required=is_required, help="Name the model is served under.")
    for is_required in (False, True)
)
_CONNECTION = ("timeout", "tls", "tls_ca", "tls_cert", "tls_key", "tls_server_name", "headers", "compression")

QueryCommand = grouped({"Options": (), "Connection": _CONNECTION})
"""A command that queries a server: its help shows how to connect, which few need to say, at the end."""


def connection_options(
    function: Callable[Concatenate[Terminal, Connection, Parameters], None],
) -> Callable[..., None]:
    """Add the server, the model and how to connect to a command, which takes them as a Connection."""
    return _connected(function, _MODEL_REQUIRED)


def server_options(
    function: Callable[Concatenate[Terminal, Connection, Parameters], None],
) -> Callable[..., None]:
    """Add the same options to a command that does without a model, whose name is then empty."""
    return _connected(function, _MODEL)


def optional_connection_options(
    function: Callable[Concatenate[Terminal, Connection | None, Parameters], None],
) -> Callable[..., None]:
    """Add the same options to a command that queries a server only if --server is given; else its Connection is None.

    --server has no default here, and --model may be missing.
    """
    return _connected(function, _MODEL, required=False)


def optional_server_options(
    function: Callable[Concatenate[Terminal, Connection | None, Parameters], None],
) -> Callable[..., None]:
    """Add the same options without --model to a command that is about all models of a server."""
    return _connected(function, required=False)


def version_options(function: AnyFunction) -> AnyFunction:
    """Add --version and --label to a command."""
    for option in (
        click.option("--label", metavar="LABEL", help="Use the version with this label."),
        click.option("--version", metavar="N", type=click.IntRange(0), help="Version to use. [the newest]"),
    ):
        function = option(function)
    return function


def example_options(method: str) -> Callable[[AnyFunction], AnyFunction]:
    """Add --samples, --signature and --output to a command that sends examples to signatures of a method."""

    def add(function: AnyFunction) -> AnyFunction:
        for option in (
            click.option("--output", metavar="FILE", help="Write all results to this .csv, .json or .npz."),
            click.option(
                "--signature", metavar="NAME", help=f"Signature to run. [the only one whose method is {method}]"
            ),
            click.option(
                "--samples",
                metavar="FILE|-",
                required=True,
                help="Features of the examples: a .json, .csv or .npz; - reads JSON from stdin.",
            ),
        ):
            function = option(function)
        return function

    return add


def open_samples(samples: str, limit: int, array_limit: int = 0) -> str | bytes:
    """The path of samples, or what comes on standard input for `-`, up to a limit of bytes."""
    return read_stream(sys.stdin.buffer, limit, "stdin", array_limit) if samples == "-" else samples


def _connected(function: Callable[..., None], *model_option: _Option, required: bool = True) -> Callable[..., None]:
    @functools.wraps(function)
    def with_connection(
        terminal: Terminal,
        /,
        *,
        servers: tuple[str, ...],
        model: str | None = None,
        timeout: float,
        tls: bool,
        tls_ca: str | None,
        tls_cert: str | None,
        tls_key: str | None,
        tls_server_name: str | None,
        headers: tuple[str, ...],
        compression: Literal["gzip", "deflate"] | None,
        **options: object,
    ) -> None:
        if not servers:
            _check_unused()
            function(terminal, None, **options)
            return
        connection = Connection(
            model or "",
            servers,
            timeout=timeout,
            tls=tls,
            tls_ca=tls_ca,
            tls_certificate=tls_cert,
            tls_key=tls_key,
            tls_server_name=tls_server_name,
            headers=dict(map(_header, headers)),
            compression=compression,
        )
        function(terminal, connection, **options)

    server: _Option = click.option(
        "--server",
        "servers",
        metavar="HOST:PORT",
        multiple=True,
        default=(DEFAULT_SERVER,) if required else (),
        show_default=required,
        help="gRPC address of a server. Repeat it for several servers of the same models, which share the calls.",
    )
    decorated: Callable[..., None] = with_connection
    for option in (*reversed(_OPTIONS), *model_option, server):
        decorated = option(decorated)
    return decorated


def _check_unused() -> None:
    """Refuse options of a connection that is not made."""
    context = click.get_current_context()
    for name in ("model", *_CONNECTION):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "header" if name == "headers" else name.replace("_", "-")
            raise ArgumentError(f"--{option} works only with --server")


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentError(f"--header {text!r} is not NAME=VALUE")
    return name.lower(), value
