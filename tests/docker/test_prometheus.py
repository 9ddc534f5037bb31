"""Prometheus's own configuration and rules, by promtool, and by a real Prometheus that scrapes the embedded server."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.waiting import eventually

Deploy = Callable[..., Path]

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is not installed; Debian has it as `prometheus`, and .ci/run installs it",
)

# 100 requests a second, then 2 of 100 fail for five minutes, and the server goes away.
RULE_TEST = {
    "rule_files": ["rules.yml"],
    "evaluation_interval": "5s",
    "tests": [
        {
            "interval": "5s",
            "input_series": [
                {
                    "series": ':tensorflow:serving:request_count{job="classifier", model_name="classifier",'
                    ' status="OK"}',
                    "values": "0+490x120",
                },
                {
                    "series": ':tensorflow:serving:request_count{job="classifier", model_name="classifier",'
                    ' status="INTERNAL"}',
                    "values": "0x60 10+10x60",
                },
                {
                    "series": ':tensorflow:serving:request_count{job="classifier", model_name="classifier",'
                    ' status="INVALID_ARGUMENT"}',
                    "values": "0+500x120",
                },
                *(
                    {
                        "series": ':tensorflow:serving:request_latency_bucket{job="classifier",'
                        f' model_name="classifier", le="{le}"}}',
                        "values": f"0x60 {step}+{step}x90",
                    }
                    for le, step in (("100000", 0), ("1000000", 500), ("+Inf", 500))
                ),
                {"series": 'up{job="classifier", instance="a"}', "values": "1x120 0x30"},
            ],
            "alert_rule_test": [
                {"eval_time": "4m", "alertname": "RequestsFail", "exp_alerts": []},
                {
                    "eval_time": "9m",
                    "alertname": "RequestsFail",
                    "exp_alerts": [
                        {
                            "exp_labels": {"severity": "critical", "model_name": "classifier"},
                            "exp_annotations": {"summary": "2% of the requests to classifier fail"},
                        }
                    ],
                },
                {"eval_time": "9m", "alertname": "RequestsSlow", "exp_alerts": []},
                {
                    "eval_time": "11m",
                    "alertname": "RequestsSlow",
                    "exp_alerts": [
                        {
                            "exp_labels": {"severity": "warning", "model_name": "classifier"},
                            "exp_annotations": {"summary": "1 % of the requests to classifier take longer than 991ms"},
                        }
                    ],
                },
                {"eval_time": "9m", "alertname": "ServerDown", "exp_alerts": []},
                {
                    "eval_time": "12m",
                    "alertname": "ServerDown",
                    "exp_alerts": [
                        {
                            "exp_labels": {"severity": "critical", "job": "classifier", "instance": "a"},
                            "exp_annotations": {"summary": "a does not answer Prometheus"},
                        }
                    ],
                },
            ],
            "promql_expr_test": [
                {
                    "expr": "model:failed_requests:rate1m",
                    "eval_time": "9m",
                    "exp_samples": [{"labels": 'model:failed_requests:rate1m{model_name="classifier"}', "value": 2}],
                },
                {
                    "expr": "model:requests:rate1m",
                    "eval_time": "9m",
                    "exp_samples": [{"labels": 'model:requests:rate1m{model_name="classifier"}', "value": 200}],
                },
            ],
        }
    ],
}


def promtool(*words: str | Path, cwd: Path) -> None:
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", ["docker", "kubernetes"])
def test_promtool_takes_the_configuration_and_its_rules(deployed: Deploy, target: str) -> None:
    folder = deployed(target) / "prometheus"
    promtool("check", "config", "prometheus.yml", cwd=folder)
    (folder / "test.yml").write_text(yaml.safe_dump(RULE_TEST))
    promtool("test", "rules", "test.yml", cwd=folder)


@contextmanager
def prometheus(folder: Path) -> Iterator[Callable[[str], Any]]:
    """A Prometheus on the loopback; gives what asks its API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    log = (folder / "log").open("w")
    process = subprocess.Popen(["prometheus", *words, f"--web.listen-address={address}"], stdout=log, stderr=log)

    def ask(path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.URLError:
            return None

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def test_prometheus_scrapes_the_embedded_server_and_evaluates_the_rules(deployed: Deploy, started: Any) -> None:
    from attnexport.serving import Client

    output = deployed("docker")
    with started(output) as server:
        with Client(server.grpc_address, model="classifier") as client:
            client.predict(np.zeros((2, 10, 64), "float32"))
        config = output / "prometheus" / "prometheus.yml"
        text = config.read_text()
        config.write_text(text.replace("serving:8501", server.rest_address.removeprefix("http://")))
        with prometheus(config.parent) as ask:
            query = "query?query=%7B__name__=%22:tensorflow:serving:request_count%22%7D"
            [series] = eventually(lambda: (ask(query) or {}).get("result"))
            assert series["metric"]["model_name"] == "classifier"
            assert series["metric"]["job"] == "classifier"
            assert series["metric"]["status"] == "OK"
            with urllib.request.urlopen(f"{server.rest_address}/monitoring/prometheus/metrics", timeout=10) as answer:
                [line] = [line for line in answer.read().decode().splitlines() if "request_count{" in line]
            assert float(series["value"][1]) == float(line.split()[-1])

            def evaluated() -> list[dict[str, Any]]:
                groups = (ask("rules") or {}).get("groups", [])
                rules = [rule for group in groups for rule in group["rules"]]
                return rules if rules and all(rule["health"] != "unknown" for rule in rules) else []

            rules = eventually(evaluated)
            assert {rule["health"] for rule in rules} == {"ok"}
            assert {rule["state"] for rule in rules if rule["type"] == "alerting"} == {"inactive"}
