"""Where every failure becomes one line on stderr and an exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable

import click

from attnexport.core.errors import (
    ArgumentError,
    AttnexportError,
    ContentError,
    GateError,
    ParityError,
    ServingError,
)
from attnexport.core.printable import printable
from attnexport.core.wording import as_typed

DONE, BUG, ARGUMENTS, CONTENT, NUMBERS, GATE, SERVER, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 4, 5, 6, 130, 141

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (click.UsageError, ARGUMENTS),
    (click.FileError, ARGUMENTS),
    (ArgumentError, ARGUMENTS),
    (ContentError, CONTENT),
    (ParityError, NUMBERS),
    (GateError, GATE),
    (ServingError, SERVER),
    (ModuleNotFoundError, ARGUMENTS),
    (KeyboardInterrupt, INTERRUPTED),
    (click.Abort, INTERRUPTED),
    (OSError, CONTENT),
    (MemoryError, CONTENT),
)


def run(command: Callable[[], object], *, as_json: bool, debug: bool) -> int:
    """Run a command, report its error if it fails, and return the exit code."""
    with as_typed():
        try:
            code = command()
            sys.stdout.flush()
        except SystemExit as request:  # click exits so if the reader of its help is gone
            return BROKEN_PIPE if request.code == 1 else int(request.code or 0)
        except BaseException as error:
            return _report(error, as_json=as_json, debug=debug)
    return code if isinstance(code, int) else DONE  # click returns the code of an Exit


def _report(error: BaseException, *, as_json: bool, debug: bool) -> int:
    code = next((code for kind, code in _CODES if isinstance(error, kind)), BUG)
    if debug:
        traceback.print_exception(error)
    text = _describe(error, code)
    try:
        click.echo(f"attnexport: {printable(' '.join(text.split()))}", err=True)
        if as_json:
            document = {"error": {"kind": type(error).__name__, "message": text, "exit_code": code}}
            click.echo(json.dumps(document, indent=2))
    except OSError:
        # stderr is gone, too. Without this the interpreter would fail again when it flushes the rest.
        for descriptor in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return code


def _describe(error: BaseException, code: int) -> str:
    if isinstance(error, click.UsageError):
        context = error.ctx
        hint = f"; see '{context.command_path} --help'" if context else ""
        return f"{error.format_message().rstrip('.')}{hint}"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted"
    if isinstance(error, AttnexportError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"this command needs the package {error.name!r}, which is not installed: pip install attnexport"
    if isinstance(error, MemoryError):
        return f"out of memory: {error}".rstrip(": ")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    hint = "" if code != BUG else "; this is a bug in attnexport, --debug shows where"
    return f"{type(error).__name__}: {error}{hint}"
