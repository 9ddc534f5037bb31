"""`attnexport validate`: what is right passes, and what is broken fails with the right words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

Run = Callable[..., tuple[int, str, str]]


def test_everything_passes_in_every_runtime_and_over_the_wire(
    attnexport: Run, exported: Path, digits: Any, root: Path
) -> None:
    code, out, err = attnexport("validate", exported, "--evaluation", digits.evaluation, "--serve", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["passed"]
    seen = {(Path(each["artifact"]).suffix, each["runtime"], each["signature"]) for each in document["checks"]}
    for signature in ("serving_default", "attention", "classify"):
        assert {("", runtime, signature) for runtime in ("session", "eager", "gRPC")} <= seen
    assert {(".tflite", runtime, "serving_default") for runtime in ("interpreter", "CompiledModel", "gRPC")} <= seen
    on_data = [each for each in document["checks"] if not each["is_edge"] and each["signature"] == "serving_default"]
    assert {each["measured"]["samples"] for each in on_data} == {397}
    assert min(each["measured"]["accuracy"] for each in on_data) >= 0.96
    assert {each["case"] for each in document["checks"] if each["is_edge"]} >= {"zeros", "large", "tiny", "batch of 1"}
    for part, title in (
        (document, "| `schema`"),
        (on_data[0], "| `artifact`"),
        (on_data[0]["measured"], "| `samples`"),
    ):
        assert part.keys() == documented(root, title) - {"layers", "against"}


def documented(root: Path, first: str) -> set[str]:
    """The keys in the table of docs/reference/json.md that begins so."""
    text = (root / "docs" / "reference" / "json.md").read_text()
    rows = text[text.index(first) :].partition("\n\n")[0].splitlines()
    return {key for row in rows for key in re.findall("`([a-z0-9_]+)`", row.split("|")[1])}


def test_a_budget_names_the_failure_and_keeps_the_sample(attnexport: Run, exported: Path, digits: Any) -> None:
    words = ("--evaluation", str(digits.evaluation), "--min-sqnr", "60")
    code, out, err = attnexport("validate", exported, *words)
    assert code == 4
    assert "FAILED" in out
    assert "int8.tflite (interpreter), serving_default output 'logits' on 397 evaluation samples: SQNR 4" in err
    with np.load("validate-failed.npz") as sample:
        assert sample["rows"].shape == (1, 8, 8)
    code, _, _ = attnexport("validate", exported, "--evaluation", "validate-failed.npz", "--min-sqnr", "60")
    assert code == 4


def test_made_up_samples_are_no_judge_of_what_is_calibrated_on_real_ones(attnexport: Run, exported: Path) -> None:
    code, out, err = attnexport("validate", exported)
    assert code == 0, err
    assert "int8.tflite was not judged: the samples are made up and it was calibrated on yours" in err
    figures = [re.search(r"(-?[\d.]+) dB", line) for line in out.splitlines() if "int8.tflite  " in line]
    assert figures, out
    assert all(each is not None and float(each[1]) < 25 for each in figures), out
    assert attnexport("validate", exported, "--min-sqnr", "25")[0] == 4


def test_limits_that_nothing_can_be_held_to_are_refused(
    attnexport: Run, exported: Path, digits: Any, tmp_path: Path
) -> None:
    with np.load(digits.evaluation) as samples:
        np.savez(tmp_path / "unlabelled.npz", **{key: samples[key][:20] for key in samples.files if key != "labels"})
    drop = ("--max-accuracy-drop", "0")
    assert attnexport("validate", exported, *drop)[0] == 2
    code, _, err = attnexport("validate", exported, *drop, "--evaluation", "unlabelled.npz")
    assert (code, "samples with 'labels'" in err) == (3, True)
    with np.load("unlabelled.npz") as samples:
        np.savez("labelled.npz", **samples, labels=np.full(20, 10))
    code, _, err = attnexport("validate", exported, *drop, "--evaluation", "labelled.npz")
    assert (code, "labels must be classes, 0 to 9; received 10" in err) == (3, True)
    (tmp_path / "one_value.py").write_text(
        "import keras\n\n\ndef make():\n"
        "    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name='one')\n"
    )
    assert attnexport("savedmodel", "one_value:make")[0] == 0
    code, _, err = attnexport("validate", "export/one", "--min-agreement", "0.9")
    assert (code, "no output that was compared holds scores" in err) == (3, True)


def test_a_file_of_fixed_steps_is_compared_on_samples_of_that_length(attnexport: Run, tmp_path: Path) -> None:
    """Made-up samples and edge cases are of its length; given ones of another one are for the SavedModel alone."""
    words = ("--preset", "classifier", "--steps", "dynamic")
    assert attnexport("savedmodel", *words, "--quiet")[0] == 0
    assert attnexport("tflite", "export/classifier", "-q", "float32", "--steps", "20")[0] == 0
    code, out, err = attnexport("validate", "export/classifier", "--json")
    assert code == 0, err
    checks = [each for each in json.loads(out)["checks"] if each["artifact"].endswith(".tflite")]
    assert {each["is_edge"] for each in checks} == {True, False}
    np.savez(tmp_path / "short.npz", sequence=np.ones((3, 7, 64), np.float32))
    code, out, err = attnexport("validate", "export/classifier", "--evaluation", "short.npz")
    assert code == 0, err
    assert "classifier.float32.tflite takes 20 steps, and is not compared on these samples" in err
    assert attnexport("validate", "export/classifier", "--write-cases", "cases.npz")[0] == 0


def test_strings_that_nobody_gave_are_not_made_up(attnexport: Run, exported: Path) -> None:
    """`classify` of a SavedModel that was exported as it is takes serialized tf.Examples."""
    assert attnexport("savedmodel", exported / "saved_model/1", "--name", "copied")[0] == 0
    code, out, err = attnexport("validate", "export/copied")
    assert code == 0, err
    assert "signature 'classify' is not compared: it takes strings" in err
    assert "serving_default" in out


def test_changed_and_missing_files_are_said_first(attnexport: Run, export: Path) -> None:
    file = next(export.glob("tflite/1/*int8.tflite"))
    file.write_bytes(file.read_bytes() + b"\0")
    code, out, err = attnexport("validate", export)
    assert (code, out) == (5, "")
    assert "tflite/1/digits-multihead.int8.tflite changed since; export it again" in err
    file.unlink()
    assert "int8.tflite gone since" in attnexport("validate", export)[2]


@pytest.mark.parametrize(
    ("factor", "code", "told"), [(1.01, 4, "max error"), (float("nan"), 5, "holds NaN or infinity at")]
)
def test_a_perturbed_tflite_fails(
    factor: float,
    code: int,
    told: str,
    attnexport: Run,
    export: Path,
    perturb: Any,
    forget_hashes: Callable[[Path], None],
) -> None:
    perturb(next(export.glob("tflite/1/*float32.tflite")), 10, factor)
    forget_hashes(export)
    found, _, err = attnexport("validate", export)
    assert (found, told in err) == (code, True), err
    assert "float32.tflite (interpreter)" in err


def test_a_tflite_that_would_crash_the_process_fails(
    attnexport: Run, export: Path, forget_hashes: Callable[[Path], None]
) -> None:
    """Its verdict names the damage; the other artifacts are compared as ever, over gRPC too."""
    from ai_edge_litert.tools import flatbuffer_utils

    file = next(export.glob("tflite/1/*int8.tflite"))
    model = flatbuffer_utils.read_model(str(file))
    for operator in model.subgraphs[0].operators:
        if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) == "BATCH_MATMUL":
            operator.inputs = [-1, int(operator.inputs[1])]
    file.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    forget_hashes(export)
    code, out, err = attnexport("validate", export, "--serve", "--layers", "--html", "--json")
    assert (code, "BATCH_MATMUL has no input 0, which it needs" in err) == (5, True), err
    problems: dict[str, set[bool]] = {}
    for check in json.loads(out)["checks"]:
        problems.setdefault(Path(check["artifact"]).name, set()).add(check["problem"] is not None)
    damaged = problems.pop(file.name)
    assert (damaged, list(problems.values())) == ({True}, [{False}] * 2)
    code, _, err = attnexport("benchmark", file)
    assert (code, len(err.splitlines()), "BATCH_MATMUL has no input 0" in err) == (3, 1, True)


def test_another_models_saved_model_fails(
    attnexport: Run, export: Path, digits: Any, tmp_path: Path, forget_hashes: Any
) -> None:
    from attnexport.workflows.export import export_saved_model

    other = export_saved_model(digits.models["digits-attention"], tmp_path / "other", output_names=["logits"])
    shutil.rmtree(export / "saved_model" / "1")
    shutil.copytree(other.path, export / "saved_model" / "1")
    forget_hashes(export)
    code, _, err = attnexport("validate", export)
    assert code in (4, 5)
    assert "saved_model/1 (session)" in err


def test_the_report_and_the_verdicts_stay(attnexport: Run, export: Path, digits: Any, root: Path) -> None:
    evaluation = ("--evaluation", digits.evaluation)
    before = json.loads((export / "attnexport.json").read_text())
    code, out, err = attnexport("validate", export, *evaluation, "--html", "--layers", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["layers"][0].keys() == documented(root, "| `artifact` | path within the export |\n| `layer`")
    report = export / "report" / "1.html"
    assert json.loads(out)["report"] == str(report)
    text = report.read_text()
    for words in (
        "397 evaluation samples",
        "SavedModel",
        "The worst sample, number",
        "SQNR over latency",
        "SQNR of the tensors inside",
        "Attention weights of attention, 4 heads, int8: at most",
        "int8 weights",
    ):
        assert words in text
    assert str(Path(digits.evaluation).parent) not in text

    document = json.loads((export / "attnexport.json").read_text())
    found = {each["kind"]: each["validation"] for each in document["versions"][0]["artifacts"]}
    assert found["keras"] is None, "the original is what others are held against"
    assert found["tflite"]["data"] == json.loads(out)["data"]
    assert found["tflite"]["data"] | {"content_hash": ""} == {
        "name": "397 evaluation samples", "samples": 397, "content_hash": "", "given": True
    }  # fmt: skip
    runs = {(each["runtime"], each["signature"]): each for each in found["tflite"]["checks"]}
    assert runs.pop(("half precision", "serving_default"))["passed"]
    assert runs.keys() == {("interpreter", "serving_default"), ("CompiledModel", "serving_default")}
    assert all(each["passed"] and 40 < each["sqnr_db"] < 60 and each["agreement"] >= 0.99 for each in runs.values())
    for each in (*document["versions"][0]["artifacts"], *before["versions"][0]["artifacts"]):
        each["validation"] = None
    assert document == before, "nothing else was changed"

    _, out, _ = attnexport("inspect", export)
    assert "passed on 397 evaluation samples (interpreter, CompiledModel, half precision), SQNR 4" in out
    report.write_text("old")
    code, out, _ = attnexport("validate", export, "--min-sqnr", "200", "--html", "here.html")
    assert (code, report.read_text()) == (4, "old")
    assert "The report is here.html" in out
    assert "✗ Failed" in Path("here.html").read_text()
    assert "FAILED on 64 synthetic samples" in attnexport("inspect", export)[1]


def test_an_export_that_cannot_be_written_is_validated(
    attnexport: Run, export: Path, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Any, target: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("attnexport.store.files.os.replace", refuse)
    before = sorted(export.rglob("*"))
    evaluation = ("--evaluation", digits.evaluation)
    code, out, err = attnexport("validate", export, *evaluation, "--html")
    assert code == 3, "the report was asked for"
    assert "passed" in out
    assert "note: the verdicts could not be recorded in the manifest: cannot write" in err
    assert f"attnexport: cannot write {export}/report/1.html: the file system is read-only" in err
    assert attnexport("validate", export, *evaluation)[0] == 0
    assert sorted(set(export.rglob("*")) - set(before)) == [export / "report"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--html", "."], 2, "html: . is a directory; name a file in it, such as report.html"),
        (["--html", "nowhere/report.html"], 2, "html: nowhere/report.html is in nowhere, which is not a directory"),
        (["nowhere"], 2, "export nowhere does not exist"),
        (["--rtol", "1e-3"], 2, "rtol and atol come together"),
        (["--min-sqnr", "nan"], 2, "min_sqnr must be a number of dB"),
        (["--write-cases", "cases.npz", "--html", "x.html"], 2, "--html cannot be used with --write-cases"),
        (["--version", "9"], 2, "has no version 9; there is 1"),
        (["--evaluation", "nowhere.npz"], 2, "samples nowhere.npz do not exist"),
        (["--server", "127.0.0.1:1"], 6, "127.0.0.1:1"),
    ],
)
def test_bad_input(words: list[str], code: int, told: str, attnexport: Run, exported: Path) -> None:
    given = words if words == ["nowhere"] else [str(exported), *words]
    found, out, err = attnexport("validate", *given)
    assert (found, out) == (code, "")
    assert told in err


def test_a_server_that_does_not_start_says_why(attnexport: Run, tmp_path: Path) -> None:
    """A SessionRun warm-up record loads nowhere: TF Serving refuses it too."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2, session_service_pb2

    module = tf.Module()
    module.f = tf.function(lambda x: {"y": x * 2.0}, input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "sr" / "1"), signatures={"serving_default": module.f})
    run = prediction_log_pb2.SessionRunLog(request=session_service_pb2.SessionRunRequest())
    records = tmp_path / "sr" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    records.parent.mkdir()
    with tf.io.TFRecordWriter(str(records)) as writer:
        writer.write(prediction_log_pb2.PredictionLog(session_run_log=run).SerializeToString())
    assert attnexport("savedmodel", "sr/1", "--name", "sr")[0] == 0
    code, _, err = attnexport("validate", "export/sr", "--serve")
    assert code == 3
    assert "nothing to serve: version 1: warm-up record 1 fails: Unsupported log_type" in err
