"""Child processes: however they end, it is told in one line."""

from __future__ import annotations

from attnexport.tflite.probe import run_child

_ONCE = ("timeit", "-n", "1", "-r", "1")  # a module that runs any statement


def test_what_it_says_last_is_the_problem() -> None:
    """The first line of a traceback tells nothing."""
    ended = run_child(*_ONCE, "raise KeyError('the reason')")
    assert not ended.crashed
    assert ended.problem is not None
    assert "Traceback" not in ended.problem
    ended = run_child(*_ONCE, "import sys; sys.exit('first\\nthe reason')")
    assert ended.problem == "the reason"
    assert run_child(*_ONCE, "import os; os._exit(7)").problem == "exit code 7"


def test_a_signal_a_kill_and_a_hang_are_told() -> None:
    ended = run_child(*_ONCE, "import os; os.kill(os.getpid(), 11)", running="the interpreter")
    assert (ended.problem, ended.crashed) == ("it crashes the interpreter (signal 11)", True)
    killed = run_child(*_ONCE, "import os; os.kill(os.getpid(), 9)").problem
    assert killed is not None
    assert "memory runs out" in killed
    hung = run_child(*_ONCE, "import time; time.sleep(60)", timeout=0.5)
    assert (hung.problem, hung.crashed) == ("it hangs its process: nothing came of it in 0.5 s", True)


def test_what_it_prints_comes_back() -> None:
    ended = run_child(*_ONCE, "import sys; sys.stdout.write(sys.stdin.read() + '!')", given=b"word")
    assert ended.problem is None
    assert "word!" in ended.said
