"""A type checker, as an editor runs it, sees the installed package in a user's script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import attnexport

RIGHT = """
import numpy as np

import attnexport as ax
from attnexport.exporter import PresetConfig
from attnexport.workflows.export import export_saved_model
from attnexport.serving import Client, Retry
from attnexport.serving.server import ModelConfig, Server, VersionPolicy
from attnexport.tflite import RECIPES, TFLiteRunner

layer = ax.AttentionConcatLayer(16)
heads = ax.MultiHeadAttentionConcat(4, 16, 4)
model = ax.build_model("classifier", pooling="average")
exported = export_saved_model(PresetConfig(pooling="average"), "export")
print(ax.__version__, layer, heads, model, exported.path, exported.entry.version, RECIPES["int8"].name)
with Client("127.0.0.1:8500", model="m", retry=Retry(attempts=2)) as client:
    reply = client.predict({"x": np.zeros((1, 3), np.float32)})
    print(reply["y"], reply.version)
print(ModelConfig("m", exported.path, policy=VersionPolicy(every=True)), Server, TFLiteRunner)
"""
WRONG = """
import attnexport as ax
from attnexport.serving import Clientt

ax.build_model("clasifier")
ax.Client("127.0.0.1:8500").predict()
print(ax.no_such_name, Clientt)
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, str]]]:
    """Line and rule of what basedpyright reports under its strict rules, by script."""
    folder = tmp_path_factory.mktemp("scripts")
    uses = "".join(f"print(ax.{name})\n" for name in attnexport.__all__)
    scripts = {"right": RIGHT, "wrong": WRONG, "names": f"import attnexport as ax\n\n{uses}"}
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    words = ["--outputjson", "--pythonpath", sys.executable, "--project", str(folder)]
    command = [str(Path(sys.executable).parent / "basedpyright"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    result: dict[str, list[tuple[int, str]]] = {name: [] for name in scripts}
    for each in json.loads(done.stdout)["generalDiagnostics"]:
        result[Path(each["file"]).stem].append((each["range"]["start"]["line"], each["rule"]))
    return result


def test_a_users_script_is_clean(reported: dict[str, list[tuple[int, str]]]) -> None:
    assert reported["right"] == []


def test_mistakes_in_a_users_script_are_reported(reported: dict[str, list[tuple[int, str]]]) -> None:
    assert {line for line, _ in reported["wrong"]} == {2, 4, 5, 6}


def test_every_public_name_has_a_type(reported: dict[str, list[tuple[int, str]]]) -> None:
    """Lazy names are declared twice, for Python and for type checkers."""
    assert reported["names"] == []
