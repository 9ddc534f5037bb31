"""What all commands share: --json, --quiet, --verbose, --debug, a Terminal, an example, choices and old spellings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Concatenate, ParamSpec

import click

from attnexport.core.errors import no_such

from .boundary import BROKEN_PIPE
from .terminal import Terminal

Parameters = ParamSpec("Parameters")


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every command and the group have."""
    for option in (
        click.option("--debug", is_flag=True, help="Show tracebacks, and what TensorFlow prints."),
        click.option("-v", "--verbose", is_flag=True, help="Print each step on a line of its own, on stderr."),
        click.option("--quiet", is_flag=True, help="Hide notes and progress."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, and nothing else."),
    ):
        function = option(function)
    return function


def trust_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--trust`, for commands that import the modules that an export names."""
    return click.option(
        "--trust",
        is_flag=True,
        expose_value=False,
        callback=_trust,
        help="Run the modules an export names and whatever a SavedModel does, even if made elsewhere.",
    )(function)


def _shared_options(function: Callable[..., Any]) -> None:
    """Give a command the options that all have. Its help shows its own ones first."""
    own = function.__dict__.pop("__click_params__", [])
    common_options(function)
    if any(each.name == "imports" for each in own):
        trust_option(function)
    function.__dict__["__click_params__"] += own


def _trust(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from attnexport.workflows.trust import trusting

        context.with_resource(trusting())


class RenamedCommand(click.Command):
    """A command that still takes the former spellings of its options, which its help does not show."""

    renamed: ClassVar[Mapping[str, str]] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = []
        for number, word in enumerate(args):
            if word == "--":
                words += args[number:]
                break
            option, equals, value = word.partition("=")
            words.append(self.renamed.get(option, option) + equals + value)
        return super().parse_args(ctx, words)


def command(
    name: str,
    *,
    example: str,
    cls: type[click.Command] = RenamedCommand,
    renamed: Mapping[str, str] | None = None,
) -> Callable[[Callable[Concatenate[Terminal, Parameters], None]], click.Command]:
    """Make a function `(terminal, typed options)` a command with the common options.

    Args:
        name: As it is typed.
        example: One command a line, as a user types them; the help ends with them.
        cls: The class of the command.
        renamed: Former spellings of options, each with its present one.
    """
    if renamed:
        cls = type("Renamed", (cls,), {"renamed": renamed})

    def decorate(function: Callable[Concatenate[Terminal, Parameters], None]) -> click.Command:
        _shared_options(function)

        @click.command(name, cls=cls, epilog=example_epilog(example))
        @functools.wraps(function)
        def invoke(
            as_json: bool, quiet: bool, verbose: bool, debug: bool, *args: Parameters.args, **kwargs: Parameters.kwargs
        ) -> None:
            group = click.get_current_context().ensure_object(Terminal)
            terminal = Terminal(
                as_json or group.json, quiet or group.quiet, debug or group.debug, verbose or group.verbose
            )
            with terminal.only_ours():
                try:
                    function(terminal, *args, **kwargs)
                except KeyboardInterrupt as error:
                    raise click.Abort from error  # click would first print an empty line
                except BrokenPipeError as error:
                    raise click.exceptions.Exit(BROKEN_PIPE) from error  # click would exit with the code of a bug

        return invoke

    return decorate


def example_epilog(example: str) -> str:
    r"""The end of a help page; `\b` keeps click from joining the lines."""
    lines = example.strip().splitlines()
    title = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join(["\b", title, *(f"  {line.strip()}" for line in lines)])


class Choice(click.Choice[str]):
    """A choice whose error suggests the closest value."""

    def __init__(self, what: str, choices: Sequence[str]) -> None:
        super().__init__(choices)
        self._what = what

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return no_such(self._what, str(value), self.choices)
