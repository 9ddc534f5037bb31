"""Commands with their workflows replaced: options in, one call, the result out; no TensorFlow anywhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnexport.core.errors import ContentError, GateError, ServingError
from attnexport.core.progress import Progress
from attnexport.parity.limits import Limits
from attnexport.workflows.connection import Connection
from attnexport.workflows.result import Line, Result, Table

Run = Callable[..., tuple[int, str, str]]
X = Connection("m", ("127.0.0.1:8500",))


@dataclass(frozen=True)
class Canned(Result):
    """What a replaced workflow returns."""

    notes: tuple[str, ...] = ("cast to float32",)
    text: str = "[b]not markup[/b]"
    failure: str | None = None  # of a validation
    warnings: tuple[str, ...] = ()
    report_error: Exception | None = None
    search: None = None  # of a conversion
    rejected: tuple[()] = ()
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text}

    def blocks(self) -> list[Any]:
        return [Line(self.text), Table(("a", "b"), [("1", "2")], right=("b",))]


# Command line; the workflow, its arguments.
CASES: list[tuple[list[str], str, tuple[Any, ...], dict[str, Any]]] = [
    (["status", "--model", "m", "--wait"], "status.status", (X,), {"version": None, "wait": True}),
    (["metadata", "--model", "m", "--version", "3"], "metadata.metadata", (X,), {"version": 3, "label": None}),
    (
        ["predict", "--model", "m", "--samples", "x.npz", "--label", "stable", "--output", "y.npz", "--max-batch", "8"],
        "predict.predict",
        ("x.npz", X),
        {"version": None, "label": "stable", "signature": "serving_default", "batch": 8, "output": "y.npz"},
    ),
    (
        ["predict", "--model", "m", "--input", "x.npz", "--batch=8"],  # former spellings
        "predict.predict",
        ("x.npz", X),
        {"version": None, "label": None, "signature": "serving_default", "batch": 8, "output": None},
    ),
    (
        ["classify", "--model", "m", "--samples", "x.json", "--output", "y.csv"],
        "classify.classify",
        ("x.json", X),
        {"version": None, "label": None, "signature": None, "output": "y.csv"},
    ),
    (
        ["regress", "--model", "m", "--samples", "x.csv", "--signature", "price"],
        "regress.regress",
        ("x.csv", X),
        {"version": None, "label": None, "signature": "price", "output": None},
    ),
    (["list", "exports"], "listing.list_exports", ("exports",), {}),
    (["list", "--server", "127.0.0.1:8500"], "listing.list_models", (Connection("", ("127.0.0.1:8500",)),), {}),
    (
        ["deploy", "export/m", "--target", "docker", "--output", "out", "--cpus", "3", "--force"],
        "deploy.deploy",
        (Path("export/m"), Path("out")),
        {"target": "docker", "version": None, "image": None, "tf_serving_version": None, "cpus": 3, "replicas": 2,
         "max_batch": None, "force": True},
    ),
    (
        ["savedmodel", "mine:make", "--name", "m", "--batch", "2", "--signature", "attention", "--warmup", "4"],
        "export.export_saved_model",
        ("mine:make", None),
        {"name": "m", "version": None, "imports": (), "input_names": (), "output_names": (), "steps": None, "batch": 2,
         "shapes": {}, "inputs": [], "new_signature": False, "signatures": ("attention",), "labels": None, "warmup": 4,
         "inherit": True},
    ),
    (
        ["tflite", "mine:make", "-q", "int8", "-q", "float16", "--calibration", "x.npz", "--max-size", "500k"],
        "convert.convert",
        ("mine:make", ("int8", "float16")),
        {"calibration": "x.npz", "evaluation": None, "labels_for": None, "output": None, "name": None,
         "version": None, "imports": (), "steps": (), "batch": None, "shapes": {}, "inputs": [], "new_signature": False,
         "signatures": (), "integer_only": False, "io": None, "keep_float": (),
         "calibrator": None, "min_sqnr_db": None, "max_size": 500000, "search": None, "allow_flex": False,
         "keep_failed": False, "force": False},
    ),
    (
        ["inspect", "m.tflite", "--import", "mine"],
        "inspect.inspect",
        ("m.tflite",),
        {"imports": ("mine",), "node_data": None},
    ),
    (
        ["benchmark", "a.tflite", "b.tflite", "--threads", "2", "--seconds", "1"],
        "benchmark.benchmark",
        (("a.tflite", "b.tflite"),),
        {"seconds": 1.0, "threads": 2, "rounds": 200, "imports": ()},
    ),
    (
        ["benchmark", "--server", "127.0.0.1:8500", "--model", "m", "--concurrency", "1,8", "--samples", "x.npz"],
        "server_benchmark.benchmark_server",
        (X,),
        {"samples": "x.npz", "signature": "serving_default", "batch": 1, "concurrency": (1, 8), "seconds": 3.0,
         "version": None, "label": None},
    ),
    (
        ["validate", "export/m", "--evaluation", "x.npz", "--min-sqnr", "40", "--html", "--serve"],
        "validate.validate",
        (Path("export/m"),),
        {"version": None, "evaluation": "x.npz", "imports": (), "server": None, "model": None, "serve": True,
         "limits": Limits(min_sqnr_db=40.0), "labels_for": None, "layers": False, "recorded": (), "html": True,
         "node_data": None, "against": None, "digest": None, "write_digest": False},
    ),
]  # fmt: skip


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Replace a workflow by one that reports progress and returns or raises what is given; gives its calls."""

    def set_result(workflow: str, result: Result | Exception) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def run(*arguments: Any, progress: Progress, **options: Any) -> Result:
            calls.append((arguments, options))
            progress("working", done=1, total=2)
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(f"attnexport.workflows.{workflow}", run)
        return calls

    return set_result


@pytest.mark.parametrize(("words", "workflow", "arguments", "options"), CASES, ids=lambda value: str(value)[:20])
def test_options_become_arguments_and_the_result_is_shown(
    attnexport: Run, replace: Any, words: list[str], workflow: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    calls = replace(workflow, Canned())
    code, out, err = attnexport(*words)
    assert (code, out) == (0, "[b]not markup[/b]\na  b\n1  2\n")
    assert err in ("", "note: cast to float32\n")
    code, out, _ = attnexport(*words, "--json", "--quiet")
    assert (code, json.loads(out)) == (0, {"text": "[b]not markup[/b]"})
    assert calls == [(arguments, options)] * 2


@pytest.mark.parametrize(("words", "workflow"), [case[:2] for case in CASES], ids=lambda value: str(value)[:20])
def test_errors_of_a_workflow_become_one_line_and_an_exit_code(
    attnexport: Run, replace: Any, words: list[str], workflow: str
) -> None:
    for error, expected in ((ContentError("bad file"), 3), (GateError("changed"), 5), (ServingError("refused"), 6)):
        replace(workflow, error)
        assert attnexport(*words) == (expected, "", f"attnexport: {error}\n")


def test_every_option_of_a_connection_reaches_it(attnexport: Run, replace: Any) -> None:
    calls = replace("status.status", Canned())
    words = (
        "--server",
        "a:1",
        "--server",
        "b:2",
        "--timeout",
        "3",
        "--tls",
        "--tls-ca",
        "ca.pem",
        "--tls-cert",
        "c.pem",
    )
    more = (
        "--tls-cert",
        "c.pem",
        "--tls-key",
        "k.pem",
        "--tls-server-name",
        "n",
        "--header",
        "Key=a=b",
        "--compression",
        "gzip",
    )
    assert attnexport("status", "--model", "m", *words, *more)[0] == 0
    [((connection,), _)] = calls
    assert connection == Connection(
        "m", ("a:1", "b:2"), timeout=3, tls=True, tls_ca="ca.pem", tls_certificate="c.pem", tls_key="k.pem",
        tls_server_name="n", headers={"key": "a=b"}, compression="gzip",
    )  # fmt: skip
    code, _, err = attnexport("status", "--model", "m", "--header", "novalue")
    assert (code, err) == (2, "attnexport: --header 'novalue' is not NAME=VALUE\n")


def test_none_of_it_loads_tensorflow(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    code = (
        "import json, sys\nfrom importlib import import_module\n"
        "from attnexport.core.errors import ContentError\nfrom attnexport.cli.main import main\n"
        "heavy = ('tensorflow', 'keras', 'ai_edge_litert', 'grpc')\n"
        "sys.modules.update(dict.fromkeys(heavy))\n"  # an import of one fails
        "def fail(*arguments, **options): raise ContentError('replaced')\n"
        "for words, workflow in json.loads(sys.argv[1]):\n"
        "    module, function = workflow.split('.')\n"
        "    setattr(import_module(f'attnexport.workflows.{module}'), function, fail)\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert end.code == 3, (words, end.code)\n"
        "assert not any(sys.modules[each] for each in heavy)\n"
    )
    done = run_python(code, json.dumps([case[:2] for case in CASES]))
    assert done.returncode == 0, done.stderr
    assert done.stderr == "attnexport: replaced\n" * len(CASES)
