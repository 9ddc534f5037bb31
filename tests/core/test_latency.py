"""The latency loop, and what a process says of itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from attnexport.core.latency import measure


def test_calls_take_turns_and_each_counts_as_often() -> None:
    order: list[str] = []
    found = measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=4)
    assert [found[name].calls for name in ("a", "b")] == [4, 4]
    counted = order[10:]  # after the warm-up, one untimed and one timed call of each in turn
    assert counted == ["a", "a", "b", "b"] * 4
    assert list(found) == ["a", "b"]


def test_time_is_bounded_but_three_rounds_there_are() -> None:
    assert measure({"a": lambda: None}, rounds=1000, seconds=0)["a"].calls == 3


def test_peak_memory_is_this_process_own(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The kernel's ru_maxrss is handed down from the parent, which here may hold TensorFlow."""
    code = (
        "from attnexport.core.process import peak_memory_bytes as peak\n"
        "before = peak(); block = b'x' * 100_000_000; print(before, peak())"
    )
    before, after = map(int, run_python(code).stdout.split())
    assert 5_000_000 < before < 90_000_000
    assert after - before > 90_000_000
