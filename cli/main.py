"""The command line: `attnexport COMMAND`."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import click

from .benchmark import benchmark
from .boundary import run
from .command import common_options, example_epilog
from .demo import demo
from .deploy import deploy
from .inspect import inspect
from .metadata import metadata
from .predict import predict
from .savedmodel import savedmodel
from .serve import serve
from .status import status
from .terminal import Terminal
from .tflite import tflite
from .validate import validate

_EXAMPLE = """
attnexport savedmodel model.keras --name classifier
attnexport tflite export/classifier --quantize int8 --calibration samples.npz
attnexport validate export/classifier --evaluation samples.npz
attnexport serve export/classifier
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=example_epilog(_EXAMPLE))
@click.version_option(package_name="attnexport", message="attnexport %(version)s")
@common_options
@click.pass_context
def cli(context: click.Context, as_json: bool, quiet: bool, debug: bool) -> None:
    """Export, validate and serve Keras attention models on TensorFlow Serving and LiteRT."""
    context.obj = Terminal(as_json, quiet, debug)


for each in (savedmodel, tflite, validate, inspect, benchmark, serve, deploy, predict, status, metadata, demo):
    cli.add_command(each)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: of this process if no arguments are passed."""
    _open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = run(
        lambda: cli.main(args=words or ["--help"], prog_name="attnexport", standalone_mode=False),
        as_json="--json" in words,
        debug="--debug" in words,
    )
    if arguments is None:
        _end_process(code)
    sys.exit(code)


def _end_process(code: int) -> NoReturn:
    """End the process at once: freeing what TensorFlow holds, object by object, takes seconds."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader is gone, or the stream is closed
            stream.flush()
    os._exit(code)


def _open_streams() -> None:
    """Open /dev/null for streams that were closed when the process started (`>&-`)."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # In this order each stream gets the lowest free descriptor, which is its own.
            null = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(null, "r" if name == "stdin" else "w"))
