"""Runs a page: its Python blocks and commands, in order, in one directory and one namespace.

- ```python``` blocks are run; any block with `title="NAME"` is written to that file instead.
- ```console``` blocks: what follows `$ ` is run in this process, and the lines below it must be among what it prints,
  numbers and spacing aside. A command under which a line begins with `attnexport: ` must fail with that line.
- The directory holds `export/classifier` (the default classifier with pooling), `model.keras`, which it was exported
  from, and `samples.npz`.
- `attnexport serve … &` starts the embedded server on free ports, which take the place of 8500 and 8501 from there on.
- Other blocks (```sh``` and so on) need what tests do not have, and are not run.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., tuple[int, str, str]]
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r'title="([^"]+)"')
_GRPC, _REST = "127.0.0.1:8500", "127.0.0.1:8501"


@pytest.fixture(scope="session")
def shared_export(exported_classifier: Any) -> Path:
    """What pages find as export/classifier, beside what they make themselves."""
    directory: Path = exported_classifier.directory
    return directory


def without_figures(text: str) -> str:
    return " ".join(re.sub(r"-?\d[\d.,]*(e-?\d+)?", "#", text).split())


class Page:
    """A page that runs in a directory."""

    def __init__(
        self, name: str, directory: Path, attnexport: Run, serve_here: Callable[[Sequence[str]], Any], stack: ExitStack
    ) -> None:
        self.name = name
        self._directory = directory
        self._attnexport, self._serve_here = attnexport, serve_here
        self._stack = stack
        self._addresses = {"$PWD": str(directory)}
        self._programs = {"attnexport": self._ours, "curl": self._curl, "cat": self._cat, "openssl": self._openssl}

    def run(self, text: str) -> int:
        """Run all blocks; gives how many commands and Python blocks there were."""
        namespace: dict[str, Any] = {"__name__": "__main__"}
        count = 0
        for language, attributes, block in _BLOCK.findall(text):
            title = _TITLE.search(attributes)
            if title:
                (self._directory / title[1]).write_text(self._placed(block))
            elif language == "python":
                exec(compile(self._placed(block), self.name, "exec"), namespace)
                count += 1
            elif language == "console":
                count += self._console(block)
        return count

    def _placed(self, text: str) -> str:
        for old, new in self._addresses.items():
            text = text.replace(old, new)
        return text

    def _console(self, block: str) -> int:
        commands = re.findall(r"^\$ (.*(?:\\\n.*)*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
        assert commands, f"{self.name}: a console block without a command: {block}"
        for line, shown in commands:
            self._command(line.replace("\\\n", ""), [each for each in shown.splitlines() if each.strip(" …")])
        return len(commands)

    def _command(self, line: str, shown: list[str]) -> None:
        program, *words = shlex.split(self._placed(line))
        if words[-1:] == ["&"]:
            self._serve(words[1:-1])
            return
        code, printed = self._programs[program](words)
        fails = any(each.startswith("attnexport: ") for each in shown)
        assert bool(code) == fails, (self.name, line, code, printed)
        lines = {without_figures(each) for each in printed.splitlines()}
        for each in shown:
            assert without_figures(self._placed(each)) in lines, (self.name, line, each, printed)

    def _ours(self, words: list[str]) -> tuple[int, str]:
        code, out, err = self._attnexport(*words)
        told = ("note: ", "attnexport: ")
        assert all(each.startswith(told) for each in err.splitlines()), (self.name, words, err)
        return code, out + err

    def _curl(self, words: list[str]) -> tuple[int, str]:
        data = words[words.index("-d") + 1].encode() if "-d" in words else None
        with urllib.request.urlopen(words[-1], data, timeout=60) as answer:
            return 0, answer.read().decode()

    def _cat(self, words: list[str]) -> tuple[int, str]:
        return 0, "".join((self._directory / word).read_text() for word in words)

    def _openssl(self, words: list[str]) -> tuple[int, str]:
        done = subprocess.run(["openssl", *words], cwd=self._directory, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    def _serve(self, words: list[str]) -> None:
        """Here and not in a process of its own, which would import TensorFlow again."""
        server = self._stack.enter_context(self._serve_here(words))
        self._addresses[_GRPC] = server.grpc_address
        self._addresses[_REST] = server.rest_address.removeprefix("http://")


@pytest.fixture
def page(
    attnexport: Run,
    serve_here: Callable[[Sequence[str]], Any],
    shared_export: Path,
    tmp_path: Path,
    forked_children: None,
) -> Iterator[Callable[[str], Page]]:
    """Makes a page that runs where the shared export, its model and samples are; what it started ends with the test."""
    shutil.copytree(shared_export, tmp_path / "export" / "classifier")
    shutil.copy(shared_export / "keras" / "1.keras", tmp_path / "model.keras")
    samples = np.random.default_rng(0).standard_normal((200, 10, 64)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", sequence=samples)
    modules = set(sys.modules)
    with ExitStack() as stack:
        yield lambda name: Page(name, tmp_path, attnexport, serve_here, stack)
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and Path(str(sys.modules[name].__file__)).parent == tmp_path:
            del sys.modules[name]
