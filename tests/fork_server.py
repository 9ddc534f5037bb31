"""The process that tests/forks.py forks: `fork_server.py ADDRESS PYTHON PRELOAD`, until its stdin ends."""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types
from contextlib import suppress
from typing import Any, NoReturn

from attnexport.core.process import start_fast

_MAX_DESCRIPTORS = 250
_ATTNEXPORT = "import sys; from attnexport.cli.main import main; sys.exit(main())"


def main(address: str, python: str, preload: str) -> None:
    start_fast()
    exec(compile(preload, "<preload>", "exec"), {"__name__": "__preload__"})
    sys.executable = python  # for the processes that forks start
    gc.collect()
    gc.freeze()  # what is imported stays; forks need not look through it
    # SIGINT of a terminal is for the tests.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([0, listener], [], [])
            if 0 in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _serve(connection)
            connection.close()


def _serve(connection: socket.socket) -> NoReturn:
    """Fork once more for the request, tell the launcher how that ended, or end it when the launcher is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, descriptors, _, _ = socket.recv_fds(connection, 8, _MAX_DESCRIPTORS)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(head, "big")))
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become(request, descriptors)
    for descriptor in (0, 1, 2, *descriptors):
        os.close(descriptor)
    process = os.pidfd_open(pid)
    with suppress(OSError):
        connection.sendall(f"{pid}\n".encode())
    select.select([process, connection], [], [])
    if not select.select([process], [], [], 0)[0]:
        os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):  # it may not have come so far as to have a group of its own
            os.killpg(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(OSError):
        connection.sendall(f"{status}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], received: list[int]) -> NoReturn:
    """Run what the launcher was started for, in this process."""
    os.setsid()
    _take_descriptors(dict(zip(request["descriptors"], received, strict=True)))
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["env"])
    for name, limit in request["limits"].items():
        resource.setrlimit(getattr(resource, name), tuple(limit))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    code = 1
    try:
        _run(request["program"], request["arguments"])
        code = 0
    except SystemExit as ending:
        if isinstance(ending.code, str):
            sys.stderr.write(f"{ending.code}\n")
        else:
            code = ending.code or 0
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    os._exit(code)


def _take_descriptors(given: dict[int, int]) -> None:
    """Give the launcher's open files their numbers, and no others; streams read and write them."""
    # First out of the way of the numbers that are to be taken.
    moved = {number: os.dup(descriptor) for number, descriptor in given.items()}
    while taken := {descriptor for descriptor in moved.values() if descriptor in given}:
        moved = {number: os.dup(old) if old in taken else old for number, old in moved.items()}
    for number in (0, 1, 2):
        if number not in given:
            os.close(number)
    for number, descriptor in moved.items():
        os.dup2(descriptor, number, inheritable=True)
    last = max([2, *given])
    for number in range(3, last + 1):
        if number not in given:
            with suppress(OSError):
                os.close(number)
    os.closerange(last + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = None
        if number in given:
            errors = "backslashreplace" if name == "stderr" else "strict"
            is_written_by_line = number == 2 or (number == 1 and os.isatty(number))
            mode, buffering = ("w", 1 if is_written_by_line else -1) if number else ("r", -1)
            stream = open(number, mode, buffering, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run(program: str, arguments: list[str]) -> None:
    """As `python` or `attnexport` would, with these arguments."""
    if program == "attnexport":
        sys.argv = [program, *arguments]
        _execute(_ATTNEXPORT)
        return
    is_safe = False
    while arguments[0] == "-P":
        is_safe, arguments = True, arguments[1:]
    kind, *rest = arguments
    if kind == "-c":
        code, *rest = rest
        sys.argv = ["-c", *rest]
        sys.path[:0] = [] if is_safe else [""]
        _execute(code)
    elif kind == "-m":
        sys.argv = rest
        sys.path[:0] = [] if is_safe else [os.getcwd()]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind.startswith("-"):
        raise SystemExit(f"forks take -P, -c, -m or a file, and not {kind}")
    else:
        sys.argv = arguments
        sys.path[:0] = [] if is_safe else [os.path.dirname(os.path.abspath(kind))]
        runpy.run_path(kind, run_name="__main__")


def _execute(code: str) -> None:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(code, "<string>", "exec"), module.__dict__)


if __name__ == "__main__":
    main(*sys.argv[1:])
