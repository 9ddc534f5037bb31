"""The terminal: results on stdout, notes on stderr, and nothing that libraries print on either."""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from attnexport.core.errors import StorageError
from attnexport.core.printable import printable
from attnexport.core.progress import Progress, silent
from attnexport.workflows.result import Result, print_blocks

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 160  # columns, if stdout is not a terminal


@dataclass
class Terminal:
    """Where a command prints, and how much.

    Attributes:
        json: Print one JSON document on stdout instead of a summary.
        quiet: Print no notes and no progress.
        debug: Show tracebacks, and what libraries print.
    """

    json: bool = False
    quiet: bool = False
    debug: bool = False
    _stdout: TextIO = field(default_factory=lambda: sys.stdout)
    _stderr: TextIO = field(default_factory=lambda: sys.stderr)

    def show(self, result: Result) -> None:
        """Print a workflow's result: its document with --json, else its tables."""
        if self.json:
            text = result.to_json()
        else:
            console = self._console(self._stdout)
            with console.capture() as captured:
                print_blocks(console, result.blocks())
            text = "\n".join(line.rstrip() for line in captured.get().rstrip().split("\n"))
        try:
            print(text, file=self._stdout, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StorageError(
                f"the result cannot be printed on stdout ({error.strerror}); the command itself succeeded"
            ) from error

    def note(self, text: str) -> None:
        """Print a note on stderr."""
        if not self.quiet:
            with suppress(OSError):  # not being able to print a note is not a reason to fail
                print(f"note: {printable(text)}", file=self._stderr, flush=True)

    def problem(self, text: str) -> None:
        """Print what is wrong after the result; the exit code says it as well."""
        with suppress(OSError):
            print(f"attnexport: {printable(text)}", file=self._stderr, flush=True)

    def log(self, line: str) -> None:
        """Print a line that an option asks for, even with --quiet."""
        with suppress(OSError):
            print(printable(line), file=self._stderr, flush=True)

    def silence_exit(self) -> None:
        """Close stderr at exit, before LiteRT's destructors print on it."""
        if not self.debug:
            atexit.register(_close_stderr)

    @contextmanager
    def working(self) -> Iterator[Progress]:
        """Show the progress of a workflow on stderr if it is a terminal: a spinner, and a bar if there is a total."""
        if self.quiet or not self._stderr.isatty():
            yield silent
            return
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        console = self._console(self._stderr)
        with Bar(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
            task = bar.add_task("starting", total=None)

            def show(message: str, /, *, done: int = 0, total: int | None = None) -> None:
                bar.columns = columns if total is not None else columns[:2]
                bar.update(task, description=f"{printable(message)}…", completed=done, total=total)

            yield show

    @contextmanager
    def only_ours(self) -> Iterator[None]:
        """Keep what libraries print off both streams, down to the file descriptors.

        TensorFlow, absl and XNNPACK bypass Python's streams, and a user's own modules may print on stdout, which holds
        only one JSON document with --json. With `debug` all of it goes to stderr.
        """
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if self.debug else "3")
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1), os.dup(2)
        before = self._stdout, self._stderr
        with tempfile.TemporaryFile() as sink:
            try:
                self._stdout, self._stderr = (os.fdopen(fd, "w", encoding="utf-8", errors="replace") for fd in kept)
                for descriptor in (1, 2):
                    os.dup2(kept[1] if self.debug else sink.fileno(), descriptor)
                yield
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os.dup2(kept[0], 1)
                os.dup2(kept[1], 2)
                for stream in (self._stdout, self._stderr):
                    with suppress(OSError):  # reported when the write failed
                        stream.close()
                self._stdout, self._stderr = before

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        return Console(file=stream, highlight=False, width=None if stream.isatty() else _PIPE_WIDTH)


def _close_stderr() -> None:
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
