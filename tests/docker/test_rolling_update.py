"""A rolling update: three servers replaced one by one with a new version under load, and no failed request."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

SERVERS = 3


def test_servers_are_replaced_one_by_one_without_a_failed_request(start_serving: Any, model_base: Path) -> None:
    """As Kubernetes does it: the new one is ready first, and nobody starts before it answers.

    Here every server keeps its address, so the client's balancing alone carries it. Connections end by their age all
    the while, as they do in the image.
    """
    from attnexport.serving import Client
    from attnexport.serving.server import GrpcOptions, ModelConfig, VersionPolicy

    def start(version: int, port: int = 0) -> Any:
        config = ModelConfig("m", model_base, policy=VersionPolicy(specific=frozenset({version})))
        grpc = GrpcOptions(channel_arguments=(("grpc.max_connection_age_ms", 200), ("grpc.so_reuseport", 0)))
        return start_serving([config], port=port, rest_port=None, grpc=grpc)

    running = [start(1) for _ in range(SERVERS)]
    addresses = [each.server.address for each in running]
    ended, answers, failures = threading.Event(), [], []
    x = np.ones((1, 3), "float32")

    with Client(addresses, model="m", timeout=30) as client:

        def ask() -> None:
            while not ended.is_set():
                try:
                    prediction = client.predict({"x": x})
                    answers.append((prediction.version, float(prediction["y"][0, 0])))
                except Exception as error:
                    failures.append(error)

        def served(version: int, more: int) -> None:
            """Until so many more answers of the version came."""
            wanted = sum(each[0] == version for each in answers) + more
            while sum(each[0] == version for each in answers) < wanted and not failures:
                ended.wait(0.01)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            served(1, 50)
            for number, address in enumerate(addresses):
                running[number].stop()
                running[number] = start(2, int(address.rpartition(":")[2]))
                served(2, 50)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert client.predict({"x": x}).version == 2
    # Whoever answers says which version it was, and its numbers are that version's.
    assert set(answers) == {(1, 3.0), (2, 4.0)}
