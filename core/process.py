"""This process: the memory that it has used, and where its packages look for settings."""

from __future__ import annotations

import importlib
import resource
import sys
from contextlib import chdir, suppress
from pathlib import Path


def peak_memory_bytes() -> int:
    """The peak memory of this process, in bytes."""
    # ru_maxrss begins with the parent's peak, through fork and exec.
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def import_away(name: str) -> None:
    """Import a package that would take its settings from the working directory, which may be a download folder.

    The working directory is another one meanwhile, so this is for commands, whose process has no other threads yet.

    Args:
        name: The package.
    """
    with suppress(FileNotFoundError), chdir(Path(__file__).parent):  # there may be no working directory any more
        importlib.import_module(name)
