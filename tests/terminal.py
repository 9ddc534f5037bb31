"""A real pseudo-terminal around the command line in this process."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from dataclasses import dataclass
from pathlib import Path

_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Shown:
    """What a command wrote on a terminal.

    Attributes:
        code: The exit code.
        raw: Everything, with control sequences.
    """

    code: int
    raw: str

    @property
    def text(self) -> str:
        """Everything, without control sequences."""
        return _SEQUENCE.sub("", self.raw).replace("\r", "")

    @property
    def lines(self) -> list[str]:
        """The lines that are left when the progress has erased itself."""
        return _SEQUENCE.sub("", re.split(r"\x1b\[\d*[KJ]", self.raw)[-1]).replace("\r", "").splitlines()


def run_on_terminal(columns: int, *words: str | Path) -> Shown:
    """Run the command line with stdout and stderr on a terminal of that width; stdin is not one."""
    from attnexport.cli.main import main

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    seen = bytearray()

    def drain() -> None:
        try:
            while data := os.read(master, 65536):
                seen.extend(data)
        except OSError:  # how a terminal ends on Linux
            return

    reader = threading.Thread(target=drain)
    sys.stdout.flush()
    sys.stderr.flush()
    kept, streams = (os.dup(1), os.dup(2)), (sys.stdout, sys.stderr)
    try:
        os.dup2(slave, 1)
        os.dup2(slave, 2)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", encoding="utf-8", closefd=False) for fd in (1, 2))
        reader.start()
        try:
            main([str(word) for word in words])
        except SystemExit as request:
            code = int(request.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for each in (*kept, slave):
            os.close(each)
    reader.join(10)
    os.close(master)
    return Shown(code, seen.decode())
