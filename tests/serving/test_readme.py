"""The README's way from `pip install` to a prediction, as it stands but for the server's address."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

CLIENT = "## Query a served model\n"


@pytest.fixture
def classifier(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server, with the README's model: `sequence` in, `logits` out."""

    def predict(self: Any, request: Any, context: Any) -> Any:
        reply = predict_pb2.PredictResponse()
        rows = len(tf.make_ndarray(request.inputs["sequence"]))
        reply.outputs["logits"].CopyFrom(tf.make_tensor_proto(np.zeros((rows, 10, 10), "f")))
        return reply

    monkeypatch.setattr(type(server.service), "_predict", predict)
    server.service.name = "classifier"
    inputs, outputs = {"sequence": (tf.float32, [-1, 10, 64])}, {"logits": (tf.float32, [-1, 10, 10])}
    server.service.signatures = {"serving_default": (inputs, outputs, "predict")}
    return server


def section(root: Path) -> str:
    return (root / "README.md").read_text().split(CLIENT)[1].split("\n## ")[0]


def test_its_commands_work_where_only_the_client_is_installed(
    root: Path, classifier: Any, client_environment: Path, tmp_path: Path
) -> None:
    [block] = re.findall(r"```sh\n(.*?)```", section(root), re.DOTALL)
    install, *commands = block.splitlines()
    assert install == "pip install -r requirements-client.txt && pip install --no-deps ."
    np.savez(tmp_path / "samples.npz", sequence=np.zeros((40, 10, 64), "f"))
    for line in commands:
        program, *words = line.replace("127.0.0.1:8500", classifier.address).split()
        done = subprocess.run(
            [client_environment / program, *words], cwd=tmp_path, capture_output=True, text=True, check=False, env={}
        )
        assert (done.returncode, done.stderr) == (0, "")
    with np.load(tmp_path / "predictions.npz") as written:
        assert written["logits"].shape == (40, 10, 10)


def test_the_installed_client_works_without_tensorflow(client_environment: Path, server: Any, tmp_path: Path) -> None:
    code = (
        "import asyncio, sys, numpy as np\n"
        "from attnexport.serving import AsyncClient, Client\n"
        "with Client(sys.argv[1], model='m') as client:\n"
        "    assert client.predict(np.ones((2, 3), 'f'), check=True).version == 3\n"
        "    assert client.predict(np.array([b'a'], object), signature='echo')['x'].tolist() == [b'a']\n"
        "try: import tensorflow\n"
        "except ImportError: print('no TensorFlow')\n"
    )
    words = [str(client_environment / "python"), "-W", "error", "-c", code, server.address]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "no TensorFlow\n", "")
