"""How a command ends after a validation: the failure in words, its sample in a file, and the exit code."""

from __future__ import annotations

from pathlib import Path

import click

from attnexport.core.errors import StorageError
from attnexport.workflows.validation_result import ValidationResult

from .boundary import CONTENT, GATE, NUMBERS, SERVER
from .terminal import Terminal


def end(terminal: Terminal, result: ValidationResult, failed_input: Path) -> None:
    """Print what went wrong, write the sample of the first failure to `failed_input`, and exit with its code."""
    if result.report_error is not None:
        terminal.problem(str(result.report_error))
    if result.failure is not None:
        terminal.problem(result.failure)
        try:
            written = result.write_failed_input(failed_input)
        except StorageError as error:  # the verdict is printed, and stands
            terminal.problem(str(error))
        else:
            if written is not None:
                terminal.problem(f"the sample is in {written}; --evaluation {written} runs it again")
        code = NUMBERS if result.only_numbers_failed else SERVER if result.only_servers_failed else GATE
        raise click.exceptions.Exit(code)
    if result.report_error is not None:
        raise click.exceptions.Exit(CONTENT)
