"""The embedded server in a process of its own, for the time of a command."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from attnexport.core import ContentError

_START = "from attnexport.cli.main import main; main()"
_GRACE = 20  # seconds to end in


@dataclass(frozen=True)
class Addresses:
    """Where the embedded server listens: gRPC as `HOST:PORT`, REST as a URL."""

    grpc: str
    rest: str


@contextmanager
def serving(export: Path) -> Iterator[Addresses]:
    """Serve an export on free ports of the loopback until the body ends.

    Raises:
        ContentError: where the server does not start; its own words say why.
    """
    words = [sys.executable, "-P", "-c", _START, "serve", str(export), "--port=auto", "--rest_api_port=auto", "--json"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said, text=True)  # noqa: S603
        try:
            yield _addresses(process, said)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _addresses(process: subprocess.Popen[str], said: IO[str]) -> Addresses:
    """What the server prints when it listens: one JSON document."""
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if line == "}\n":
            document = json.loads("".join(lines))
            return Addresses(document["grpc"], document["rest"])
    said.seek(0)
    words = said.read().strip().splitlines()
    raise ContentError(f"the embedded server did not start: {words[-1] if words else 'it said nothing'}")
