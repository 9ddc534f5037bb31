"""This process: what it need not do at its start, the memory that it has used, where its packages look for settings."""

from __future__ import annotations

import ctypes
import gc
import importlib
import resource
import sys
from collections.abc import Sequence
from contextlib import chdir, suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

# Objects made before one collection of garbage, and how many of those before one of older objects. TensorFlow's import
# makes 370,000 objects that stay; with Python's 700, looking through them took a fifth of a command's start.
_COLLECT_AFTER = (50_000, 10, 10)
_OPTIONAL_OF_KERAS = ("matplotlib", "sklearn")


def start_fast() -> None:
    """Have TensorFlow load faster, in a process that is ours alone.

    Keras imports scikit-learn and matplotlib where they are installed, for its wrappers and galleries, which no command
    uses: a third of the time that `import tensorflow` takes, and 84 MB. It is told that they are not installed; whoever
    else imports them gets them.
    """
    gc.set_threshold(*_COLLECT_AFTER)
    sys.meta_path.insert(0, _NotForKeras())


class _NotForKeras(MetaPathFinder):
    """Finds nothing, and keeps Keras from finding what it can do without."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname.partition(".")[0] in _OPTIONAL_OF_KERAS and _importer().startswith("keras."):
            raise ModuleNotFoundError(f"{fullname} is not loaded for Keras here", name=fullname)


def _importer() -> str:
    """The module whose import statement is being run."""
    frame = sys._getframe(2)
    while frame.f_back is not None and "importlib" in frame.f_globals.get("__name__", ""):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))


def peak_memory_bytes() -> int:
    """The peak memory of this process, in bytes."""
    # ru_maxrss begins with the parent's peak, through fork and exec.
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def give_back(*, with_cycles: bool = True) -> None:
    """Return freed memory to the system: glibc keeps what many small pieces left.

    Args:
        with_cycles: Collect garbage before, such as a graph, which is a heap of cycles.
    """
    if with_cycles:
        gc.collect()
    with suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def import_away(name: str) -> None:
    """Import a package that would take its settings from the working directory, which may be a download folder.

    The working directory is another one meanwhile, so this is for commands, whose process has no other threads yet.

    Args:
        name: The package.
    """
    with suppress(FileNotFoundError), chdir(Path(__file__).parent):  # there may be no working directory any more
        importlib.import_module(name)
