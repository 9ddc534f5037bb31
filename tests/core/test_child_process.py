"""Work in child processes: however they end, one error says so, and no process is left."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from attnexport.core import ArgumentError
from attnexport.core import child_process as module
from attnexport.core.child_process import Child
from attnexport.core.errors import ProcessError, check_size
from attnexport.core.signature import fits
from attnexport.core.user_modules import ModuleFile, import_modules, load_modules

RunPython = Callable[..., subprocess.CompletedProcess[str]]


def is_gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process ends within some seconds; a zombie has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_values_go_and_come_by_their_annotations(tmp_path: Path) -> None:
    (tmp_path / "here.py").write_text("")
    with Child() as child:
        assert child.call(math.gcd, 12, 18) == 6
        assert child.call(fits, (2, 3), (None, 3)) is True
        child.call(os.chdir, tmp_path)
        files = child.call(import_modules, ["here"])
        assert files == (ModuleFile("here", str(tmp_path / "here.py")),)
        child.call(load_modules, files)
        assert child.call(os.path.isdir, tmp_path) is True
        assert child.call(math.copysign, math.inf, -1.0) == -math.inf


def test_an_error_of_ours_is_raised_as_it_is_and_the_child_goes_on() -> None:
    with Child() as child:
        with pytest.raises(ArgumentError, match="batch must be a whole number of at least 1; received 0") as caught:
            child.call(check_size, "batch", 0)
        pid = child.pid
        assert "Traceback" in str(caught.value.__cause__)
        with pytest.raises(ProcessError, match="No such file"):
            child.call(os.listdir, "nowhere")
        with pytest.raises(ProcessError, match="ValueError: "):
            child.call(math.sqrt, -1.0)
        assert child.pid == pid


def test_a_signal_a_kill_an_exit_and_a_hang_are_told_and_another_child_goes_on() -> None:
    with Child(running="the interpreter", timeout=2.0) as child:
        for number, message in ((11, "it crashes the interpreter (signal 11)"), (9, "when memory runs out")):
            with pytest.raises(ProcessError) as caught:
                child.call(os.killpg, 0, number)
            assert message in str(caught.value)
        with pytest.raises(ProcessError, match="the interpreter ended with exit code 7"):
            child.call(os._exit, 7)
        child.call(math.gcd, 1, 1)
        pid = child.pid
        with pytest.raises(ProcessError, match=r"^it hangs the interpreter: no reply within 2 s$"):
            child.call(time.sleep, 60)
        assert pid is not None
        assert is_gone(pid)
        assert child.call(math.gcd, 12, 18) == 6


def test_replies_are_bounded_and_what_is_printed_is_no_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    with Child() as child:
        child.call(os.system, f"yes | head -c 300000; {sys.executable} -c 'print(input())'")
        assert child.call(math.gcd, 12, 18) == 6
        monkeypatch.setattr(module, "MAX_REPLY_BYTES", 1000)
        with pytest.raises(ProcessError, match="gave a reply of 2,"):
            child.call(os.urandom, 2000)
        large = b"x" * 3_000_000
        assert child.call(len, large) == len(large)


def test_nothing_is_imported_from_the_working_directory(run_python: RunPython, tmp_path: Path) -> None:
    for name in ("json", "msgspec", "math", "attnexport", "helper"):
        (tmp_path / f"{name}.py").write_text("open('RAN', 'a').write(__name__)\n")
    code = (
        "import sys; sys.path.remove(''); import json, os\n"
        "from attnexport.core.child_process import Child\n"
        "with Child() as child:\n"
        "    print(child.call(json.dumps, [1]), child.call(os.getcwd))\n"
    )
    done = run_python(code)
    assert done.stdout.split() == ["[1]", str(tmp_path)], done.stderr
    assert not (tmp_path / "RAN").exists()


SLEEP = """
import sys, time
from attnexport.core.child_process import Child
with Child() as child:
    child.call(time.time)
    print(child.pid, flush=True)
    child.call(time.sleep, 60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_its_parent(number: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(number)
    parent.communicate(timeout=20)
    assert is_gone(child)


def test_a_context_is_entered_and_left_in_the_child(tmp_path: Path) -> None:
    with Child() as child:
        folder = child.enter(TemporaryDirectory, dir=tmp_path)
        assert Path(folder).is_dir()
        pid = child.pid
    assert not Path(folder).exists()
    assert pid is not None
    assert is_gone(pid)
