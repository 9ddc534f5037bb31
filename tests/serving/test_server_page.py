"""The page at `/`, the soak in its short form, and what nobody waits for any more."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from attnexport.serving.server import ModelConfig
from tests.browser import Browser
from tests.waiting_model import WaitingModel

pytestmark = pytest.mark.slow

X = np.ones((1, 3), np.float32)


@pytest.fixture
def page(start_serving: Callable[..., Any], model_base: Path, tmp_path: Path) -> Any:
    """A server of the small model and of one that fails in a way that would be markup."""
    broken = tmp_path / "<b>broken" / "1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"no graph")
    running = start_serving([ModelConfig("m", model_base), ModelConfig("<b>broken", tmp_path / "<b>broken")])
    running.predict({"x": X})
    return running


def test_the_page_shows_models_states_errors_signatures_and_traffic(page: Any) -> None:
    status, text = page.http("/")
    assert status == 200
    for words in ("AVAILABLE", "END", "does not load", "x: float32 [?, 3]", "Requests: 1 OK", "words: string [?]"):
        assert words in unescape(text)
    assert "<b>broken" not in text
    assert not re.search(r"(src|href)=.?(http|//)", text), "there is nothing to fetch"


def lines_of(text: str) -> list[str]:
    return [unescape(line) for line in re.findall(r'<pre class="command">(.*?)</pre>', text, re.DOTALL)]


def test_the_lines_of_the_page_work_as_they_stand(
    page: Any, attnexport: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of(page.http("/")[1])
    asked = [shlex.split(line) for line in lines if line.startswith("curl") and "@request.json" not in line]
    assert len(asked) >= 6
    for words in asked:
        assert words[2] == "-d"
        assert page.http(words[1].partition(page.server.rest_address)[2], json.loads(words[3]))[0] == 200, words
    commands = [shlex.split(line) for line in lines if line.startswith("echo")]
    assert {words[4] for words in commands} == {"predict", "classify", "regress"}
    for echo, body, pipe, program, *words in commands:
        assert (echo, pipe, program) == ("echo", "|", "attnexport")
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(body.encode())))
        code, _, err = attnexport(*words)
        assert code == 0, err


def test_status_metadata_and_refusals_of_other_models_are_not_its_requests(page: Any) -> None:
    page.http("/v1/models/m")
    page.http("/v1/models/m/metadata")
    page.http("/v1/models/nope:predict", {"inputs": 1})
    assert "Requests: 1 OK<" in page.http("/")[1]
    page.http("/v1/models/m:predict", {"inputs": {"z": 1}})
    assert "Requests: 1 INVALID_ARGUMENT, 1 OK<" in page.http("/")[1]


def test_a_real_browser_shows_it_and_asks_at_any_width(page: Any, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        for width in (390, 1440):
            shown = browser.open(f"{page.server.rest_address}/", width)
            assert (shown.errors, shown.overflowing) == ([], [])
            assert shown.scroll_width == width
            assert shown.evaluate("document.querySelectorAll('.overview tbody tr').length") == 2
            shown.evaluate("document.querySelector('[data-model=m]').open = true")
            shown.evaluate("ask(document.querySelector('[data-model=m] form'))")
            assert shown.evaluate("document.querySelector('.answer').textContent").startswith("200 in ")
            shown.evaluate("document.querySelector('textarea').value = 'mine'")
            shown.evaluate("renew()")  # with the request of the form
            before = int(shown.evaluate("document.querySelectorAll('.overview td.number')[6].textContent"))
            page.predict({"x": X})
            shown.evaluate("renew()")
            numbers = shown.evaluate("[...document.querySelectorAll('.overview td.number')].map((e) => e.textContent)")
            assert str(before + 1) in numbers
            assert shown.evaluate("document.querySelector('textarea').value") == "mine", "what was typed stays"
            assert shown.evaluate("document.querySelector('[data-model=m]').open")
            shown.evaluate("document.querySelector('[data-model=m] .copy').click()")
            assert shown.evaluate("document.querySelector('[data-model=m] .copy').textContent") == "copied"
            assert shown.evaluate("[...document.links].map((e) => e.getAttribute('href'))")[0] == (
                "monitoring/prometheus/metrics"
            ), "relative, for a proxy that adds a prefix"
            assert shown.errors == []


def test_twenty_models_are_an_overview_with_each_one_folded(
    start_serving: Callable[..., Any], model_base: Path, tmp_path: Path
) -> None:
    running = start_serving([ModelConfig(f"a-model-of-many-{number}", model_base) for number in range(20)])
    with Browser(tmp_path / "profile") as browser:
        for width in (390, 1440):
            shown = browser.open(f"{running.server.rest_address}/", width)
            assert (shown.errors, shown.overflowing, shown.scroll_width) == ([], [], width)
            assert shown.evaluate("document.querySelectorAll('.overview tbody tr').length") == 20
            assert shown.evaluate("document.querySelectorAll('details[open]').length") == 0
            opened = """new Promise((done) => {
                addEventListener('hashchange', () => done(document.querySelectorAll('details[open]').length));
                document.querySelectorAll('.overview a')[7].click();
            })"""
            assert shown.evaluate(opened) == 1


def test_the_soak_in_its_short_form(root: Path, exported_classifier: Any) -> None:
    words = [sys.executable, str(root / "benchmarks" / "soak.py"), "--seconds=5"]
    words.append(f"--saved-model={exported_classifier.path}")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed; " in done.stdout
    assert "ended with 0" in done.stdout


def test_what_nobody_waits_for_is_not_run(start_serving: Callable[..., Any], tmp_path: Path) -> None:
    from attnexport.serving.codec import ServedModel, encode_predict_request
    from attnexport.serving.server import GrpcOptions, RestOptions

    (tmp_path / "slow" / "1").mkdir(parents=True)
    model = WaitingModel()
    running = start_serving(
        [ModelConfig("slow", tmp_path / "slow")], loader=model, grpc=GrpcOptions(threads=1),
        rest=RestOptions(timeout_seconds=0.5),
    )  # fmt: skip
    call = running.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    request = encode_predict_request(ServedModel("slow"), {"x": X})
    first = call.future(request, timeout=60)
    assert model.entered.acquire(timeout=60)
    waiting = [call.future(request, timeout=0.3) for _ in range(5)]  # the only thread is busy for longer
    assert {each.exception(timeout=60).code() for each in waiting} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert running.http("/v1/models/slow:predict", {"inputs": [[1, 2, 3]]})[0] == 504
    model.go.set()
    assert first.exception(timeout=60) is None
    call(request, timeout=60)
    assert model.calls == 3, "the first, REST's and the last one"
