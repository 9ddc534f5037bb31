"""A Python that starts in milliseconds: each of its processes is the fork of one that has imported what takes long.

    with ForkedPython("import tensorflow") as forked:
        subprocess.run([forked.python, "-c", "import tensorflow; print(tensorflow.__version__)"])
        subprocess.run([forked.attnexport, "savedmodel"])

What runs as `python` or `attnexport` is a small program (tests/fork_launcher.py). It hands its arguments, directory,
environment, limits and open files to the server (tests/fork_server.py), passes signals on, and ends as the fork ends;
if it is killed, so is the fork. What a fork cannot show is how the process itself starts: tests of what is imported,
of warnings while it is, or of what a killed process leaves at that very moment take a process of their own.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

_FOLDER = Path(__file__).parent


class ForkedPython:
    """Two programs, `python` and `attnexport`, that run in forks of one process.

    Args:
        preload: What that process does first: imports, and nothing that starts threads.

    Attributes:
        python: As a test calls `sys.executable`, with `-c CODE`, `-m MODULE` or a file.
        attnexport: The command line.
    """

    def __init__(self, preload: str) -> None:
        self._preload = preload
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="attnexport-forks-")))
        self._process: subprocess.Popen[bytes] | None = None
        self.python, self.attnexport = (str(self._folder / name) for name in ("python", "attnexport"))

    def run(self, code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run code, with these arguments in `sys.argv[1:]`; gives its exit code and what it printed."""
        words = [self.python, "-c", code, *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, **options)

    def __enter__(self) -> Self:
        address = self._folder / "socket"
        launcher = (_FOLDER / "fork_launcher.py").read_text()
        for program in (self.python, self.attnexport):
            # Isolated, and without the site's packages: it needs none, and they take time.
            Path(program).write_text(f"#!{sys.executable} -IS\n{launcher}\nmain({str(address)!r})\n")
            Path(program).chmod(0o755)
        words = [sys.executable, "-P", str(_FOLDER / "fork_server.py"), str(address), self.python, self._preload]
        # The pipe on its stdin closes when this process ends, however it does; then the server ends.
        with (self._folder / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
        assert self._process.stdout
        if self._process.stdout.readline() != b"ready\n":
            self._process.communicate()
            with self._stack:
                raise RuntimeError((self._folder / "stderr").read_text())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if self._process is not None:
                self._process.communicate()
