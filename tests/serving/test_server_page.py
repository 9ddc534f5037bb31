"""The page at `/`, the soak in its short form, and what nobody waits for any more."""

from __future__ import annotations

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


def test_the_lines_of_the_page_work_as_they_stand(page: Any, tmp_path: Path) -> None:
    lines = [unescape(line) for line in re.findall(r"<pre>(.*?)</pre>", page.http("/")[1], re.DOTALL)]
    asked = [shlex.split(line) for line in lines if line.startswith("curl") and ":predict" in line]
    assert len(asked) >= 6
    for words in asked:
        assert words[2] == "-d"
        assert page.http(words[1].partition(page.server.rest_address)[2], json.loads(words[3]))[0] == 200, words
    [line] = [
        shlex.split(line) for line in lines if line.startswith("attnexport predict") and "serving_default" in line
    ]
    np.savez(tmp_path / "samples.npz", x=X)
    words = [str(Path(sys.executable).parent / "attnexport"), *line[1:]]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_real_browser_shows_it_without_an_error_at_any_width(page: Any, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        for width in (390, 1440):
            shown = browser.open(f"{page.server.rest_address}/", width)
            assert (shown.errors, shown.overflowing) == ([], [])
            assert shown.scroll_width == width
            assert "AVAILABLE" in shown.html
            page.predict({"x": X})
            shown.evaluate("renew()")
            assert f"Requests: {2 if width == 390 else 3} OK" in shown.html
            assert shown.evaluate("document.querySelectorAll('[data-model]').length") == 2
            shown.evaluate("document.querySelector('button').click()")
            assert shown.evaluate("document.querySelector('button').textContent") == "copied"
            assert shown.errors == []


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
