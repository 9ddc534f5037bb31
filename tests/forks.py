"""Processes for tests that start in milliseconds: forks of one that has imported what takes long, and done nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

_SERVER = """
import atexit, json, os, sys, traceback

def run(request):
    os.chdir(request["cwd"])
    sys.argv = ["-c", *request["arguments"]]
    for descriptor, name in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), descriptor)
    try:
        exec(compile(request["code"], "<string>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as ending:
        code = ending.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        run(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class ForkServer:
    """Runs Python code in forks of one process.

    Args:
        preload: What this process does first: imports, and nothing that starts threads.
    """

    def __init__(self, preload: str) -> None:
        self._preload = preload
        self._process: subprocess.Popen[str] | None = None
        self._stack = ExitStack()
        self._folder = Path()

    def run(self, code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run code, with these arguments in `sys.argv[1:]`; gives its exit code and what it printed."""
        process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        streams = {name: self._folder / name for name in ("stdout", "stderr")}
        for path in streams.values():
            path.write_text("")
        request = {"code": code, "arguments": arguments, "cwd": str(cwd)}
        print(json.dumps(request | {name: str(path) for name, path in streams.items()}), file=process.stdin, flush=True)
        status = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, *(path.read_text() for path in streams.values()))

    def _start(self) -> subprocess.Popen[str]:
        self._folder = Path(self._stack.enter_context(TemporaryDirectory()))
        command = [sys.executable, "-c", self._preload + _SERVER]
        self._process = self._stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        return self._process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
