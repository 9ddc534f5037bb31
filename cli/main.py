"""The command line: `attnexport COMMAND`."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import click

from attnexport.core.errors import no_such
from attnexport.core.process import start_fast

from .benchmark import benchmark
from .boundary import run
from .classify import classify
from .command import common_options, example_epilog
from .demo import demo
from .deploy import deploy
from .inspect import inspect
from .listing import list_
from .metadata import metadata
from .predict import predict
from .regress import regress
from .savedmodel import savedmodel
from .serve import serve
from .status import status
from .terminal import Terminal
from .tflite import tflite
from .validate import validate

_EXAMPLE = """
attnexport savedmodel model.keras --name classifier
attnexport tflite export/classifier -q int8 --calibration samples.npz
attnexport validate export/classifier --evaluation samples.npz
attnexport serve export/classifier
"""

_DEVICE = "'tflite' converts for devices: attnexport tflite model.keras -q int8 --calibration samples.npz"
# What other tools, and people, call the commands.
_ELSEWHERE = {
    "export": "'savedmodel' exports for servers, 'tflite' for devices: attnexport tflite model.keras",
    "save": "'savedmodel' exports for servers: attnexport savedmodel model.keras",
    **dict.fromkeys(("convert", "quantize", "litert"), _DEVICE),
    **dict.fromkeys(("info", "show", "describe"), "'inspect' shows what an artifact holds: attnexport inspect PATH"),
    **dict.fromkeys(("ls", "models"), "'list' shows exports, and a server's models: attnexport list"),
    **dict.fromkeys(("compare", "verify", "check", "test"), "'validate' compares: attnexport validate export/NAME"),
    **dict.fromkeys(("bench", "profile"), "'benchmark' measures: attnexport benchmark export/NAME"),
    "run": "'predict' queries a server, 'serve' starts one: attnexport serve export/NAME",
    "version": "attnexport --version prints it",
}


class _Commands(click.Group):
    """The commands; a name that other tools use says what it is called here."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            hint = _ELSEWHERE.get(name.lower())
            if hint is None:
                raise click.UsageError(no_such("command", name, self.commands), ctx)
            raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=example_epilog(_EXAMPLE))
@click.version_option(None, "-V", "--version", package_name="attnexport", message="attnexport %(version)s")
@common_options
@click.pass_context
def cli(context: click.Context, as_json: bool, quiet: bool, verbose: bool, debug: bool) -> None:
    """Export any Keras model to TensorFlow Serving and LiteRT, and prove that it computes the same there."""
    context.obj = Terminal(as_json, quiet, debug, verbose)


_SHORT: dict[tuple[str, ...], list[str]] = {(): ["--help"], ("-v",): ["--version"]}

for each in (
    *(savedmodel, tflite, validate, inspect, benchmark, list_, serve, deploy),
    *(predict, classify, regress, status, metadata, demo),
):
    cli.add_command(each)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code.

    Args:
        arguments: The words after the program's name. If None, those of this process, which then ends at once: Python
            would spend seconds on freeing what TensorFlow holds.
    """
    _open_streams()
    if arguments is None:
        start_fast()
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = run(
        lambda: cli.main(args=_SHORT.get(tuple(words), words), prog_name="attnexport", standalone_mode=False),
        as_json="--json" in words,
        debug="--debug" in words,
    )
    if arguments is None:
        _end(code)
    sys.exit(code)


def _end(code: int) -> NoReturn:
    """End this process, after all that was registered for its end."""
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # closed, or nobody reads
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _open_streams() -> None:
    """Open /dev/null for streams that were closed when the process started (`>&-`)."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # In this order each stream gets the lowest free descriptor, which is its own.
            null = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(null, "r" if name == "stdin" else "w"))
