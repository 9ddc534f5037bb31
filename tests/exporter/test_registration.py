"""Keras finds our layers in a file whatever was imported first, and nobody loads Keras for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from attnexport.exporter import MultiHeadAttentionConcat, build_model

RunPython = Callable[..., subprocess.CompletedProcess[str]]

ORDERS = {
    "the exporter before Keras": "import attnexport.exporter, keras",
    "the exporter after Keras": "import keras, attnexport.exporter",
    "the exporter after TensorFlow": "import tensorflow, attnexport.exporter, keras",
    "load_model before Keras": "import attnexport as ax; ax.load_model; import keras",
    "load_model after Keras": "import keras, attnexport as ax; ax.load_model",
    "a layer before Keras": "import attnexport as ax; ax.AttentionConcatLayer; import keras",
    "a layer after Keras": "import keras, attnexport as ax; ax.MultiHeadAttentionConcat",
    "a part of Keras": "import attnexport.exporter; from keras.layers import Dense; import keras",
    "Keras through TensorFlow": "import attnexport.exporter, tensorflow as tf; tf.keras.layers; import keras",
    "Keras in a thread": (
        "import attnexport.exporter, importlib, threading\n"
        "threads = [threading.Thread(target=importlib.import_module, args=['keras']) for _ in range(4)]\n"
        "[each.start() for each in threads]; [each.join() for each in threads]; import keras"
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("registered") / "model.keras"
    build_model("multihead-classifier", steps=3, features=4, num_heads=2, d_model=4, units=4, classes=2).save(path)
    return path


@pytest.mark.parametrize("imports", ORDERS.values(), ids=ORDERS)
def test_keras_finds_the_layers(imports: str, saved: Path, run_python: RunPython) -> None:
    code = f"{imports}\nimport sys\nprint(type(keras.saving.load_model(sys.argv[1]).layers[0]).__name__)"
    done = run_python(code, str(saved))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [MultiHeadAttentionConcat.__name__]


def test_keras_is_loaded_as_without_us(run_python: RunPython) -> None:
    """Its module has its own loader, and the import system is left as it was."""
    code = (
        "import sys, attnexport.exporter\n"
        "assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules)\n"
        "import importlib.resources, keras\n"
        "assert type(keras.__loader__).__name__ == 'SourceFileLoader', keras.__loader__\n"
        "assert keras.__spec__.loader is keras.__loader__\n"
        "assert importlib.resources.files('keras').joinpath('__init__.py').is_file()\n"
        "assert not [each for each in sys.meta_path if type(each).__module__.startswith('attnexport')]\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_a_failed_import_of_keras_may_be_tried_again(run_python: RunPython, tmp_path: Path) -> None:
    (tmp_path / "broken" / "keras").mkdir(parents=True)
    (tmp_path / "broken" / "keras" / "__init__.py").write_text("raise ImportError('not yet')\n")
    code = (
        "import sys, attnexport.exporter\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "try: import keras\n"
        "except ImportError: sys.path.pop(0)\n"
        "import importlib; importlib.invalidate_caches(); import keras\n"
        "assert keras.saving.get_registered_object('attnexport>AttentionConcatLayer')\n"
    )
    done = run_python(code, str(tmp_path / "broken"))
    assert done.returncode == 0, done.stderr
