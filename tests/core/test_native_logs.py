"""Notes of native libraries stay out of a program's stderr; everything else passes."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from attnexport.core.native_logs import without_native_logs
from attnexport.core.wording import as_typed

NOTES = (
    "INFO: [environment.cc:36] Creating LiteRT environment with options\n"
    "WARNING: [compiler_plugin.cc:312] Failed to load plugin at: /x with error: ERROR: [y]\n"
    "└ Could not load shared library /x\n"
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    "I0000 00:00:1795867731.796135    5465 cudart_stub.cc:31] Could not find cuda drivers on your machine\n"
)
OTHERS = "ERROR: [litert.cc:3] broken\nTraceback (most recent call last):\nINFO: training begins\n"


def write(text: str) -> None:
    os.write(2, text.encode())


def fail() -> None:
    write(NOTES + OTHERS)
    raise OSError("closed")


def test_notes_are_dropped_and_other_lines_pass(capfd: pytest.CaptureFixture[str]) -> None:
    with without_native_logs():
        write(NOTES + OTHERS)
        with without_native_logs():
            write(NOTES)
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == OTHERS
    with pytest.raises(OSError, match="closed"), without_native_logs():
        fail()
    write(NOTES)
    assert capfd.readouterr().err == OTHERS + NOTES


def test_threads_do_not_wait_for_each_other_and_a_closed_stderr_is_left(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, done = threading.Event(), threading.Event()
    was_done: list[bool] = []

    def work() -> None:
        with without_native_logs():
            entered.set()
            was_done.append(done.wait(60))
            write(NOTES + OTHERS)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(60)
    with without_native_logs():
        write(NOTES)
    done.set()
    thread.join()
    assert was_done == [True]
    assert capfd.readouterr().err == OTHERS
    monkeypatch.setattr(sys, "stderr", None)
    with without_native_logs():
        write(OTHERS)
    assert capfd.readouterr().err == OTHERS


def test_a_command_has_its_own_place_for_them(capfd: pytest.CaptureFixture[str]) -> None:
    with as_typed(), without_native_logs():
        write(NOTES)
    assert capfd.readouterr().err == NOTES
