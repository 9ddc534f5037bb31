"""Behind a proxy: servers on this machine are reached directly, and for others the error names the proxy."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

RunPython = Callable[..., subprocess.CompletedProcess[str]]
BEHIND = {**os.environ, "http_proxy": "http://me:secret@127.0.0.1:9", "no_proxy": ""}

LOCAL = """
import asyncio, sys, numpy as np
from attnexport.serving import AsyncClient, Client
x = {"x": np.ones((1, 3), "f")}
with Client(sys.argv[1], model="m") as client:
    assert client.predict(x).version == 3
async def main():
    async with AsyncClient(sys.argv[1], model="m") as client:
        assert (await client.predict(x)).version == 3
asyncio.run(main())
"""
FAR = """
from attnexport.serving import Client, Retry
with Client("192.0.2.1:8500", model="m", timeout=10, retry=Retry(attempts=1)) as client:
    try:
        client.status()
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_loopback_addresses_are_reached_without_the_proxy(run_python: RunPython, server: Any) -> None:
    done = run_python(LOCAL, server.address, env=BEHIND)
    assert done.returncode == 0, done.stderr


def test_the_error_names_the_proxy_that_is_in_the_way(run_python: RunPython) -> None:
    done = run_python(FAR, env=BEHIND)
    assert done.stdout.startswith(
        "UnavailableError 192.0.2.1:8500 is unavailable through the proxy 127.0.0.1:9 "
        "(from http_proxy; no_proxy=192.0.2.1 connects without it): "
    ), done.stdout + done.stderr
    assert "secret" not in done.stdout
