"""What every command has: --json, --quiet, --debug, a Terminal, and choices that guess what was meant."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click

from attnexport.core.errors import no_such

from .boundary import BROKEN_PIPE
from .terminal import Terminal


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every command and the group have."""
    for option in (
        click.option("--debug", is_flag=True, help="Show tracebacks, and what TensorFlow prints."),
        click.option("--quiet", is_flag=True, help="No notes and no progress."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, and nothing else."),
    ):
        function = option(function)
    return function


def command(name: str, cls: type[click.Command] = click.Command) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function `(terminal, **options)` a command with the common options, of click's class or another."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @click.command(name, cls=cls)
        @common_options
        @functools.wraps(function)
        def invoke(*, as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
            given: Terminal = click.get_current_context().ensure_object(Terminal)
            terminal = Terminal(as_json or given.json, quiet or given.quiet, debug or given.debug)
            with terminal.only_ours():
                try:
                    function(terminal, **options)
                except KeyboardInterrupt as error:
                    raise click.Abort from error  # click would print an empty line first
                except BrokenPipeError as error:
                    raise click.exceptions.Exit(BROKEN_PIPE) from error  # and here exit with a bug's code

        return invoke

    return decorate


class Choice(click.Choice[str]):
    """A choice whose error guesses what was meant."""

    def __init__(self, what: str, choices: Sequence[str]) -> None:
        super().__init__(choices)
        self._what = what

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return no_such(self._what, str(value), self.choices)
