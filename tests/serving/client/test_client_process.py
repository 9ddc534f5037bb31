"""Clients in processes of their own: what they import, and that they leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

RunPython = Callable[..., subprocess.CompletedProcess[str]]
STRICT = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"}

USE = """
import sys, numpy as np
from attnexport.serving import Client
with Client(sys.argv[1], model="m") as client:
    found = client.predict({"x": np.ones((5, 3), "f")}, max_batch=2)
    assert (found["y"] == 5).all()
    client.metadata(), client.status(), client.classify([{"x": 1.0}], signature="classify")
heavy = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras", "tensorflow_serving", "rich")]
assert not heavy, heavy
"""
LEFT_OPEN = """
import sys, numpy as np
from attnexport.serving import Client
client = Client(sys.argv[1], model="m")
assert client.predict({"x": np.ones((5, 3), "f")}, max_batch=2).version == 3
"""
ASYNC = """
import asyncio, sys, numpy as np
from attnexport.serving import AsyncClient
async def main():
    client = AsyncClient(sys.argv[1], model="m")
    found = await client.predict({"x": np.ones((5, 3), "f")}, max_batch=2)
    assert (found["y"] == 5).all()
    %s
asyncio.run(main())
"""
AFTER_TENSORFLOW = "import tensorflow\nfrom tensorflow_serving.apis import prediction_service_pb2_grpc\n"


@pytest.mark.parametrize(
    "code",
    [USE, LEFT_OPEN, ASYNC % "await client.close()", ASYNC % "pass", ASYNC % "sys.exit(0)"],
    ids=["used", "left open", "async", "async left open", "async exit"],
)
def test_a_process_ends_well_and_says_nothing(run_python: RunPython, server: Any, code: str) -> None:
    done = run_python(code, server.address, env=STRICT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_works_before_and_after_tensorflow_in_one_process(run_python: RunPython, server: Any) -> None:
    before = USE.partition("heavy")[0]
    done = run_python(before + AFTER_TENSORFLOW + before, server.address)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("batch", ["None", "2"])
def test_an_interruption_ends_a_call_at_once(server: Any, batch: str) -> None:
    server.service.hold.clear()
    code = (
        "import sys, numpy as np\nfrom attnexport.serving import Client\n"
        "client = Client(sys.argv[1], model='m', timeout=600)\n"
        f"client.predict({{'x': np.ones((4, 3), 'f')}}, max_batch={batch})\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, server.address], stderr=subprocess.PIPE, text=True) as process:
        while not server.service.in_flight:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "KeyboardInterrupt" in err


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted on Linux")
def test_connections_are_given_back(run_python: RunPython, server: Any) -> None:
    """Descriptors and threads after fifty clients are what they were after one."""
    code = """
import os, sys, threading, time, numpy as np
from attnexport.serving import Client
def use():
    with Client(sys.argv[1], model="m") as client:
        client.predict({"x": np.ones((5, 3), "f")}, max_batch=2)
def held():
    sockets = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            sockets += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except FileNotFoundError:  # closed meanwhile
            pass
    return sockets, threading.active_count()
use()
for _ in range(50):
    use()
for _ in range(3000):
    if held() == (0, 1):
        break
    time.sleep(0.01)
assert held() == (0, 1), held()
"""
    done = run_python(code, server.address)
    assert done.returncode == 0, done.stderr
