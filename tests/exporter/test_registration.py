"""Keras finds our layers in a file whatever was imported first, and nobody loads Keras for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attnexport.exporter import MultiHeadAttentionConcat, build_model
from tests.forks import ForkedPython

RunPython = Callable[..., subprocess.CompletedProcess[str]]

AFTER_KERAS = {
    "the exporter": "import attnexport.exporter",
    "load_model": "import attnexport as ax; ax.load_model",
    "a layer": "import attnexport as ax; ax.MultiHeadAttentionConcat",
}
BEFORE_KERAS = {
    "the exporter": "import attnexport.exporter",
    "load_model": "import attnexport as ax; ax.load_model",
    "a layer": "import attnexport as ax; ax.AttentionConcatLayer",
    "a part of Keras": "import attnexport.exporter; from keras.layers import Dense",
    "Keras through TensorFlow": "import attnexport.exporter, tensorflow as tf; tf.keras.layers",
    "Keras in a thread": (
        "import attnexport.exporter, importlib, threading\n"
        "threads = [threading.Thread(target=importlib.import_module, args=['keras']) for _ in range(4)]\n"
        "[each.start() for each in threads]; [each.join() for each in threads]"
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("registered") / "model.keras"
    build_model("multihead-classifier", steps=3, features=4, num_heads=2, d_model=4, units=4, classes=2).save(path)
    return path


@pytest.fixture(scope="module")
def before_keras() -> Iterator[ForkedPython]:
    """Has loaded much of what Keras and TensorFlow load, and neither of them."""
    with ForkedPython("import google.protobuf.descriptor_pb2, h5py, numpy, sklearn.base") as server:
        yield server


def check(imports: str, saved: Path, forked: ForkedPython) -> None:
    code = f"{imports}\nimport keras, sys\nprint(type(keras.saving.load_model(sys.argv[1]).layers[0]).__name__)"
    done = forked.run(code, str(saved), cwd=saved.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [MultiHeadAttentionConcat.__name__]


@pytest.mark.parametrize("imports", BEFORE_KERAS.values(), ids=BEFORE_KERAS)
def test_keras_finds_the_layers_imported_before_it(imports: str, saved: Path, before_keras: ForkedPython) -> None:
    check(f"import sys\nassert not {{'keras', 'tensorflow'}} & set(sys.modules)\n{imports}", saved, before_keras)


@pytest.mark.parametrize("imports", AFTER_KERAS.values(), ids=AFTER_KERAS)
def test_keras_finds_the_layers_imported_after_it(imports: str, saved: Path, forks: ForkedPython) -> None:
    check(imports, saved, forks)


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


def test_a_failed_import_of_keras_may_be_tried_again(before_keras: ForkedPython, tmp_path: Path) -> None:
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
    done = before_keras.run(code, str(tmp_path / "broken"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
