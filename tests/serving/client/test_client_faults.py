"""Servers that die, hang, refuse and come back: nothing hangs, nothing leaks, and no call fails that need not."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import numpy as np
import pytest

from attnexport.core import ArgumentError, DeadlineError, ServingError, UnavailableError
from attnexport.serving import AsyncClient, Client, Retry
from tests.waiting import eventually

X = {"x": np.ones((4, 3), "f")}
ONCE = Retry(attempts=1)

# A gRPC server that takes calls, says so, and never answers.
SILENT = """
import sys, threading, time
from concurrent import futures
import grpc
class Silent(grpc.GenericRpcHandler):
    def service(self, details):
        def wait(request, context):
            print("called", flush=True)
            time.sleep(600)
        return grpc.unary_unary_rpc_method_handler(wait)
server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(Silent(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
time.sleep(600)
"""


@pytest.fixture
def silent() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with subprocess.Popen([sys.executable, "-c", SILENT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{process.stdout.readline().strip()}", process
        process.kill()


@contextmanager
def free_port() -> Iterator[int]:
    """A port where nobody listens, kept from others by being bound."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def deaf_port() -> Iterator[str]:
    """Half open: the kernel takes connections, and nobody speaks."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(16)
        yield f"127.0.0.1:{held.getsockname()[1]}"


def kill_when_called(process: subprocess.Popen[str]) -> threading.Thread:
    def watch() -> None:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_server_killed_in_mid_call_is_one_error(silent: Any) -> None:
    address, process = silent
    killer = kill_when_called(process)
    with Client(address, model="m", retry=ONCE) as client, pytest.raises(UnavailableError) as caught:
        client.predict(X)
    killer.join()
    assert str(caught.value) == f"{address} is unavailable: the connection broke during the call"
    assert caught.value.address == address


def test_a_server_killed_in_mid_call_is_nothing_where_there_is_another(silent: Any, server: Any) -> None:
    address, process = silent
    killer = kill_when_called(process)
    with Client([address, server.address], model="m") as client:
        for _ in range(6):
            assert (client.predict(X)["y"] == 5).all()
    killer.join()
    assert len(server.service.calls) == 6


def test_an_async_client_survives_it_too(silent: Any, server: Any) -> None:
    address, process = silent
    killer = kill_when_called(process)

    async def main() -> None:
        async with AsyncClient([address, server.address], model="m") as client:
            found = await asyncio.gather(*(client.predict(X) for _ in range(6)))
            assert all((each["y"] == 5).all() for each in found)

    asyncio.run(main())
    killer.join()


def test_calls_go_round_and_no_call_fails_when_a_server_stops(start_server: Callable[..., Any]) -> None:
    servers = [start_server() for _ in range(3)]
    with Client([each.address for each in servers], model="m") as client:
        for _ in range(9):
            client.predict(X)
        assert [len(each.service.calls) for each in servers] == [3, 3, 3]
        servers[1].stop()
        for _ in range(20):
            assert (client.predict(X)["y"] == 5).all()
        assert len(servers[1].service.calls) == 3


def test_a_slow_server_is_past_the_deadline_and_hears_of_it(server: Any) -> None:
    server.service.hold.clear()
    with Client(server.address, model="m") as client:
        with pytest.raises(DeadlineError, match=r"no answer within 0\.\d+ s") as caught:
            client.predict(X, timeout=0.2)
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.model, caught.value.address) == ("m", server.address)
        with pytest.raises(DeadlineError):
            client.predict(X, timeout=0.2, max_batch=1)
        server.service.hold.set()
        assert client.predict(X).version == 3


def test_refused_then_up(start_server: Callable[..., Any]) -> None:
    with free_port() as port:
        address = f"127.0.0.1:{port}"
    with Client(address, model="m", retry=ONCE) as client:
        with pytest.raises(UnavailableError, match=f"{address} is unavailable: connection refused; is the server"):
            client.predict(X)
        with pytest.raises(DeadlineError, match=r"model 'm' is not ready after 2 s: .* connection refused"):
            client.wait_until_ready(timeout=2)
        waiting = threading.Thread(target=client.wait_until_ready)
        waiting.start()
        start_server(port=port)
        waiting.join(60)
        assert not waiting.is_alive()
        assert client.predict(X).version == 3


def test_only_unavailable_is_tried_again_and_not_for_ever(server: Any) -> None:
    retry = Retry(attempts=3, first=0.01)
    with Client(server.address, model="m", retry=retry) as client:
        server.service.failures = [(grpc.StatusCode.UNAVAILABLE, "queue full")] * 2
        assert client.predict(X).version == 3
        assert len(server.service.calls) == 3
        server.service.failures = [(grpc.StatusCode.UNAVAILABLE, "queue full")] * 3
        with pytest.raises(UnavailableError, match=r"queue full \(tried 3 times\)"):
            client.predict(X)
        assert len(server.service.calls) == 6
        server.service.failures = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")] * 2
        assert client.predict(X).version == 3, "soon a thread is free"
        server.service.calls = server.service.calls[:6]
        for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED):
            server.service.failures = [(code, "no")]
            with pytest.raises(ServingError):
                client.predict(X)
        assert len(server.service.calls) == 9


def test_a_part_that_fails_for_good_ends_all_and_one_that_need_not_does_not(server: Any) -> None:
    retry = Retry(attempts=3, first=0.01)
    with Client(server.address, model="m", retry=retry) as client:
        server.service.failures = [(grpc.StatusCode.UNAVAILABLE, "full")] * 2
        assert client.predict(X, max_batch=1)["y"].shape == (4, 3)
        server.service.failures = [(grpc.StatusCode.INTERNAL, "broken")]
        with pytest.raises(ServingError, match="broken"):
            client.predict(X, max_batch=1)


def test_half_open_connections_do_not_hang(server: Any) -> None:
    with deaf_port() as deaf:
        silence = pytest.raises(UnavailableError, match="something listens there but does not answer")
        with Client(deaf, model="m", connect_timeout=0.3, retry=ONCE) as client, silence:
            client.predict(X)
        with Client(deaf, model="m", connect_timeout=60) as client, pytest.raises(DeadlineError):
            client.predict(X, timeout=0.1)
        with Client([deaf, server.address], model="m", connect_timeout=2) as client:
            for _ in range(4):
                assert client.predict(X).version == 3


def test_replies_and_requests_larger_than_4_mb(client: Client, server: Any) -> None:
    large = {"x": np.random.default_rng(0).standard_normal((600_000, 3)).astype("f")}
    for content in (True, False):
        server.service.content = content
        found = client.predict(large)["y"]
        assert found.nbytes > 4 << 20
        np.testing.assert_array_equal(found, 2 * large["x"] + 3)


def test_a_reply_that_is_none_is_an_error(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorflow_serving.apis import predict_pb2

    reply = predict_pb2.PredictResponse()
    reply.outputs["y"].dtype = 1
    reply.outputs["y"].tensor_shape.dim.add(size=1 << 50)
    monkeypatch.setattr(type(server.service), "_predict", lambda *_: reply)
    with Client(server.address, model="m") as client, pytest.raises(ServingError, match="is not usable: 'y': a tensor"):
        client.predict(X)


def test_a_cancelled_async_call_ends_on_the_server_and_the_client_goes_on(server: Any) -> None:
    server.service.hold.clear()

    async def main() -> None:
        async with AsyncClient(server.address, model="m") as client:
            for options in ({}, {"max_batch": 2}):
                task = asyncio.create_task(client.predict(X, **options))  # type: ignore[arg-type]
                await asyncio.to_thread(eventually, lambda: server.service.in_flight > 0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.to_thread(eventually, lambda: server.service.in_flight == 0)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.predict(X), 0.1)
            server.service.hold.set()
            assert (await client.predict(X)).version == 3

    asyncio.run(main())


def test_a_closed_client_says_so_even_to_calls_under_way(server: Any) -> None:
    server.service.hold.clear()
    failures: list[BaseException] = []
    client = Client(server.address, model="m")

    def predict(**options: Any) -> None:
        try:
            client.predict(X, **options)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=predict, kwargs=options) for options in ({}, {"max_batch": 2})]
    for thread in threads:
        thread.start()
    eventually(lambda: server.service.in_flight == 3)
    client.close()
    for thread in threads:
        thread.join(30)
    assert len(failures) == 2
    assert all(isinstance(each, ServingError | ArgumentError) for each in failures), failures
    with pytest.raises(ArgumentError, match="the client is closed"):
        client.predict(X)
    client.close()

    async def main() -> None:
        other = AsyncClient(server.address, model="m")
        task = asyncio.create_task(other.predict(X))
        await asyncio.to_thread(eventually, lambda: server.service.in_flight == 1)
        await other.close()
        with pytest.raises(ArgumentError, match="closed while it was in use"):
            await task
        with suppress(ArgumentError):
            await other.predict(X)

    eventually(lambda: server.service.in_flight == 0)
    asyncio.run(main())


def test_an_async_client_belongs_to_one_loop(server: Any) -> None:
    client = AsyncClient(server.address, model="m")

    async def main() -> None:
        await client.predict(X)

    with asyncio.Runner() as first:
        first.run(main())
        with asyncio.Runner() as second, pytest.raises(ArgumentError, match="make one for each loop"):
            second.run(main())
        first.run(client.close())
