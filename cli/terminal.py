"""The terminal: results on stdout, notes on stderr, and nothing that libraries print on either."""

from __future__ import annotations

import atexit
import os
import sys
import time
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

_PIPE_WIDTH = 200  # columns, if stdout is not a terminal
_BAR_COLUMNS = 46  # that spinner, time, bar and count take of a line of progress
_DEFAULT_COLUMNS = 80  # if a terminal does not say


@dataclass
class Terminal:
    """Where a command prints, and how much.

    Attributes:
        json: Print one JSON document on stdout instead of a summary.
        quiet: Print no notes and no progress.
        debug: Show tracebacks, and what libraries print.
        verbose: Print each step of the progress on a line of its own, on a terminal or not.
    """

    json: bool = False
    quiet: bool = False
    debug: bool = False
    verbose: bool = False
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

    def warn(self, text: str) -> None:
        """Print what a verdict that passed does not say, even with --quiet."""
        with suppress(OSError):
            print(f"warning: {text}", file=self._stderr, flush=True)

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
        if self.quiet:
            yield silent
            return
        if self.verbose:
            yield self._steps()
            return
        if not self._stderr.isatty():
            yield silent
            return
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        console = self._console(self._stderr)
        room = Column(no_wrap=True, overflow="ellipsis", max_width=max(20, console.width - _BAR_COLUMNS))
        text = TextColumn("{task.description}", markup=False, table_column=room)
        columns = (SpinnerColumn(), text, TimeElapsedColumn(), BarColumn(bar_width=20), MofNCompleteColumn())
        with Bar(*columns[:3], console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
            task = bar.add_task("starting", total=None)

            def show(message: str, /, *, done: int = 0, total: int | None = None) -> None:
                bar.columns = columns if total is not None else columns[:3]
                bar.update(task, description=f"{printable(message)}…", completed=done, total=total)
                bar.refresh()  # before the work begins, which may keep the bar's own thread waiting

            yield show

    def _steps(self) -> Progress:
        """Progress as lines: each step once, with the seconds since the start."""
        start, last = time.monotonic(), ""

        def show(message: str, /, *, done: int = 0, total: int | None = None) -> None:
            nonlocal last
            if message != last:
                self.log(f"{time.monotonic() - start:6.1f} s  {message}")
                last = message

        return show

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
        with open(os.devnull, "wb") as sink:  # rather than a temporary file, for which a container may have no room
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

        return Console(file=stream, highlight=False, width=_columns(stream) if stream.isatty() else _PIPE_WIDTH)


def _columns(stream: TextIO) -> int:
    """The width of a terminal. rich would ask descriptors 0 to 2, of which none need be this terminal here."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    with suppress(OSError):
        return os.get_terminal_size(stream.fileno()).columns or _DEFAULT_COLUMNS
    return _DEFAULT_COLUMNS


def _close_stderr() -> None:
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
