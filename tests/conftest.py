"""Fixtures that are expensive to make, made once a run."""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from attnexport.core.process import start_fast
from tests.forks import ForkedPython
from tests.wheels import build, client_environment, wheel  # noqa: F401 - fixtures

# Before anything imports TensorFlow.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

# jsonschema imports it where Jupyter has brought it: three seconds, for a format that no schema here uses.
sys.modules["rfc3987_syntax"] = None

# As in a command: a sixth of the suite's time was garbage collection.
start_fast()

# What the suite exports is not remembered beside what its user exported.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="attnexport-state-")
os.environ["ATTNEXPORT_WEIGHT_CACHE"] = ""  # a test of the cache has a directory of its own

# A shell that starts the suite in the background has SIGINT ignored, and all processes that tests start would inherit
# that; a handler of Python's own they do not.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no word on how long a busy machine takes over them.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
# Hypothesis also draws constants out of the modules that are loaded, so that examples would depend on what ran before.
providers.is_local_module_file = lambda path: False

ROOT = Path(__file__).resolve().parent.parent
_PYTHON = sys.executable  # which `forked_children` puts another program in place of


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-randomly shuffle alone: it seeds with another number each run, and `seed` with the same one."""
    config.option.randomly_reset_seed = False


@pytest.fixture(autouse=True)
def seed() -> None:
    """Start every test with the same random numbers, whatever ran before: Keras draws weights from them."""
    random.seed(0)
    if "keras" in sys.modules:
        _freeze_modules()
        sys.modules["keras"].utils.set_random_seed(0)


@cache
def _freeze_modules() -> None:
    """Leave what TensorFlow's modules hold out of collections of garbage, which Keras and tests ask for by hand."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no worker is left alone with one of them in the end.

    pytest-randomly has shuffled the files, and the tests of each; each file is given to one worker (`--dist loadfile`).
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code in a fresh process, in a directory of its own."""

    def run(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        words = [_PYTHON, "-c", code, *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300, **options)

    return run


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkedPython]:
    """`python` and `attnexport` as programs that start at once: TensorFlow and Keras are imported already."""
    with ForkedPython("import tensorflow, keras, ai_edge_litert.interpreter, pytest") as forked:
        yield forked


@pytest.fixture
def forked_children(forks: ForkedPython, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the children of this process be such forks, too."""
    monkeypatch.setattr(sys, "executable", forks.python)


@pytest.fixture
def fork_python(tmp_path: Path, forks: ForkedPython) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code, as `run_python` does, in the fork of a process that has imported TensorFlow and Keras."""
    return partial(forks.run, cwd=tmp_path)


@pytest.fixture
def attnexport(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process, in a directory of its own; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        from attnexport.cli.main import main

        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_request:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return int(exit_request.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def serve_here() -> Callable[[Sequence[str]], Any]:
    """The server of `attnexport serve WORDS` in this process, to be used in a `with` block, on free ports."""

    def make(words: Sequence[str]) -> Any:
        from attnexport.cli.serve import serve as command
        from attnexport.workflows.serve import serve
        from attnexport.workflows.serve_settings import ServeSettings

        options = command.make_context("serve", list(words)).params
        settings = ServeSettings(**{name: options[name] for name in ServeSettings.flags()})
        return serve(options["export"], settings=settings)

    return make


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Any]:
    """Make something once a run, in the worker that needs it first; the others read it, pickled beside its files."""
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent  # which all workers of this run have

    def get(name: str, make: Callable[[Path], Any]) -> Any:
        pickled = folder / f"{name}.pickle"
        with FileLock(folder / f"{name}.lock"):
            if not pickled.exists():
                (folder / name).mkdir()
                pickled.write_bytes(pickle.dumps(make(folder / name)))
        return pickle.loads(pickled.read_bytes())

    return get


@pytest.fixture(scope="session")
def digits(once: Callable[..., Any]) -> Any:
    """Both digits models, trained as the example trains them."""
    from attnexport.examples.digits import train_digits

    return once("digits", train_digits)


@pytest.fixture(scope="session")
def exported_classifier(once: Callable[..., Any]) -> Any:
    """The default preset with pooling, exported with all three signatures: not to be changed."""
    from attnexport.exporter import PresetConfig
    from attnexport.workflows.export import export_saved_model

    return once("exports", lambda folder: export_saved_model(PresetConfig(pooling="average"), folder))


@pytest.fixture(scope="session")
def serving_models() -> Any:
    """What the server's tests share: `write_model`, and `Serving`, a running server with clients of others."""
    spec = importlib.util.spec_from_file_location("serving_models", ROOT / "tests" / "serving_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def model_base(serving_models: Any, once: Callable[..., Any]) -> Path:
    """A base path with the versions 1 and 2 of a small model: not to be changed."""

    def write(folder: Path) -> Path:
        for version in (1, 2):
            serving_models.write_model(folder / "m", version)
        return folder / "m"

    return Path(once("served", write))


@pytest.fixture
def start_serving(serving_models: Any) -> Iterator[Callable[..., Any]]:
    """Start servers; all are stopped in the end."""
    started: list[Any] = []

    def start(*args: Any, **options: Any) -> Any:
        started.append(serving_models.Serving(*args, **options))
        return started[-1]

    yield start
    for serving in started:
        serving.stop()


@pytest.fixture(scope="module")
def serving(serving_models: Any, model_base: Path) -> Iterator[Any]:
    """A server of both versions of the small model `m`, labels `stable` 1 and `canary` 2."""
    from attnexport.serving.server import ModelConfig, VersionPolicy

    config = ModelConfig("m", model_base, policy=VersionPolicy(every=True), labels={"stable": 1, "canary": 2})
    running = serving_models.Serving([config], allow_unavailable_labels=True)
    yield running
    running.stop()
