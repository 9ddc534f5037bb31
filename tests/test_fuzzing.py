"""Every parser of bytes from outside, a thousand inputs each; `make fuzz` runs a million."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzzing import campaign
from tests.fuzzing.by_hypothesis import fuzz
from tests.fuzzing.target import Target
from tests.fuzzing.targets import targets

pytestmark = pytest.mark.filterwarnings("ignore")  # numpy and protobuf warn of some inputs that they read


@pytest.mark.parametrize("name", targets())
def test_a_parser_refuses_bytes_by_its_own_errors(name: str) -> None:
    fuzz(targets()[name](), 1000)


@pytest.mark.parametrize("name", targets())
def test_the_long_form_reaches_each_parser(name: str, tmp_path: Path) -> None:
    target = targets()[name]()
    for seed in target.seeds:
        answers = set()
        for read in target.reads:
            try:
                read(target.wrap(seed, 0.62) if target.wrap else seed)
            except target.refuses:
                continue
            answers.add(read)
        assert answers, f"nothing reads {seed[:100]!r}"
    found = campaign.feed(target, 400, "0", tmp_path, lambda number, data: None)
    assert found.faults == {}
    assert found.read >= 4
    assert len(found.answers) >= 3, found.answers


def faulty() -> Target:
    """A parser that raises another error, and one that hangs."""

    def read(data: bytes) -> None:
        with contextlib.suppress(Exception):  # as parsers of damaged files have it
            while b"null" in data:
                pass
        if b"true" in data:
            raise KeyError("true")

    return Target([b'{"a": 1}'], [read], (ValueError,), "text")


def crashing() -> Target:
    """A parser that crashes."""

    def read(data: bytes) -> None:
        if b"false" in data:
            os.kill(os.getpid(), signal.SIGSEGV)

    return Target([b'{"a": 1}'], [read], (ValueError,), "text")


def test_the_long_form_finds_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "CPU_SECONDS", 0.02)
    found = campaign.feed(faulty(), 200, "0", tmp_path, lambda number, data: None)
    assert {kind.split(":")[0] for kind in found.faults} == {"KeyError at test_fuzzing.py", "more than 0.02 s"}
    for kind, file in found.faults.items():
        assert (b"true" if "KeyError" in kind else b"null") in Path(file).read_bytes()


def test_the_long_form_goes_on_after_a_crash(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.fuzzing", "tests.test_fuzzing:crashing", "--inputs", "400"]
    words += ["--folder", str(tmp_path)]
    done = subprocess.run(words, check=False, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("tests.test_fuzzing:crashing: 400 inputs in "), done.stdout
    crashed = re.findall(r"the process ended with -11 at input \d+: (.*)", done.stdout)
    assert crashed
    assert b"false" in Path(crashed[0]).read_bytes()
