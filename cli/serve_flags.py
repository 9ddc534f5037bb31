"""The flags of tensorflow_model_server as options: from the table of settings, and in all its ways of writing them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field
from typing import Any, ClassVar, Concatenate, ParamSpec

import click

from attnexport.workflows.serve_settings import IGNORED_FLAGS, IGNORED_SWITCHES, Port, ServeSettings

from .option_groups import GroupedCommand
from .terminal import Terminal

Parameters = ParamSpec("Parameters")

_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_FLAGS = ServeSettings.flags()
# Flags that tensorflow_model_server does not have.
_OWN = ("host", "max_message_bytes", "max_body_bytes", "workers", "grace_seconds", "require_tls", "strict_shapes")
_SWITCHES = (*(name for name, flag in _FLAGS.items() if isinstance(flag.default, bool)), *IGNORED_SWITCHES)


class PortType(click.ParamType[Port]):
    """A port number, or `auto` for a free one."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Port:
        if value == "auto":
            return "auto"
        try:
            number = int(value)
        except ValueError:
            number = -1
        if not 0 <= number <= 65535:
            self.fail(f"{value!r} is not a port; give a number up to 65535, or auto", param, ctx)
        return number


class BooleanType(click.ParamType[bool]):
    """true or false."""

    name = "boolean"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() not in _BOOLEANS:
            self.fail(f"{value!r} is neither true nor false", param, ctx)
        return _BOOLEANS[str(value).lower()]


class ServeCommand(GroupedCommand):
    """A command that takes `--a_flag` and `--a-flag`, and a switch without its value."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "Server": ("port", "rest_api_port", "imports", "access_log", *_OWN),
        "Flags of tensorflow_model_server": tuple(name for name in _FLAGS if name not in _OWN),
    }

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {name for each in self.params for name in each.opts}
        rewritten: list[str] = []
        places = iter(range(len(args)))
        for place in places:
            word = args[place]
            if word == "--":
                rewritten += args[place:]
                break
            flag, equals, value = word.partition("=")
            underscored = "--" + flag[2:].replace("-", "_")
            if flag.startswith("--") and flag not in known and underscored in known:
                flag = underscored
            if flag[2:] in _SWITCHES and not equals:
                following = args[place + 1].lower() if place + 1 < len(args) else ""
                equals, value = "=", following if following in _BOOLEANS else "true"
                if following in _BOOLEANS:
                    next(places)
            rewritten.append(flag + equals + value)
        return super().parse_args(ctx, rewritten)


def serve_flags(
    function: Callable[Concatenate[Terminal, ServeSettings, tuple[str, ...], Parameters], None],
) -> Callable[..., None]:
    """Add the flags to a command, which takes them as settings, and the names of given flags that have no effect."""
    return _with_flags(function)


def _with_flags(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def with_settings(terminal: Terminal, /, **options: Any) -> None:
        given = {name: options.pop(name) for name in (*IGNORED_FLAGS, *IGNORED_SWITCHES)}
        settings = ServeSettings(**{name: options.pop(name) for name in _FLAGS})
        ignored = tuple(sorted(name for name, value in given.items() if value is not None))
        function(terminal, settings, ignored, **options)

    decorated: Callable[..., None] = with_settings
    options = [*(_option(name, flag) for name, flag in _FLAGS.items()), *map(_ignored, IGNORED_FLAGS)]
    for option in reversed([*options, *map(_ignored, IGNORED_SWITCHES)]):
        decorated = option(decorated)
    return decorated


def _option(name: str, flag: Field[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    default, minimum = flag.default, flag.metadata["minimum"]
    kind: click.ParamType[Any] = click.STRING
    metavar = flag.metadata["metavar"]
    if isinstance(default, bool):  # the defaults are given as they are typed, and so shown
        kind, metavar, default = BooleanType(), "true|false", str(default).lower()
    elif isinstance(default, float):
        kind, metavar, default = click.FLOAT if minimum is None else click.FloatRange(minimum), "N", f"{default:g}"
    elif isinstance(default, int):
        kind, metavar = click.INT if minimum is None else click.IntRange(minimum), "N"
    return click.option(
        f"--{name}",
        type=kind,
        metavar=metavar,
        default=default,
        show_default=default not in (None, ""),
        help=flag.metadata["help"],
    )


def _ignored(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(f"--{name}", hidden=True, help="Accepted, without effect.")
