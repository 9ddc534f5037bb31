"""`attnexport demo`: the whole way on real data, in one command."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.workflows.result import print_blocks
from attnexport.workflows.sizes import kilobytes

from .command import command
from .outcome import end
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.parity import Figures
    from attnexport.workflows.export import ExportResult
    from attnexport.workflows.served import EmbeddedServer
    from attnexport.workflows.validation_result import ValidationResult

_RECIPES = ("float32", "float16", "dynamic", "int8")


@dataclass(frozen=True)
class _Row:
    """One artifact of the demo.

    `latency_ms` is the median of a call with one image, measured side by side with the other artifacts of its model;
    `evaluation` is on the held-out digits, against Keras.
    """

    model: str
    artifact: str
    size_bytes: int
    latency_ms: float
    evaluation: Figures
    path: str


@dataclass(frozen=True)
class _Served:
    """Accuracy, 0 to 1, of a model in the embedded server, asked over gRPC and REST, and of its int8 file over gRPC."""

    model: str
    grpc_accuracy: float
    rest_accuracy: float
    int8_accuracy: float


@command("demo", example="attnexport demo --output attnexport-demo")
@click.option("-o", "--output", default="attnexport-demo", show_default=True, help="Where everything is written.")
def demo(terminal: Terminal, output: str) -> None:
    """Train on real digits, export, quantize, compare, serve.

    Trains two attention models on scikit-learn's handwritten digits, exports them for TensorFlow Serving and TFLite,
    measures what was exported, and serves it.
    """
    directory = Path(output)
    terminal.silence_exit()
    with terminal.steps() as on_step:
        on_step("loading TensorFlow")
        from attnexport.examples import digits
        from attnexport.workflows.serve import serve

        trained = digits.train_digits(directory / "digits", on_step=on_step)
        rows = [
            row
            for name, keras_file in trained.models.items()
            for row in _export(name, keras_file, directory / "export", trained, on_step)
        ]
    served, outcomes = [], []
    for name in trained.models:
        with ExitStack() as stack:
            with terminal.steps() as on_step:
                on_step(f"serving {name}")
                at = stack.enter_context(serve(directory / "export" / name, in_child=True))
                served.append(_served(name, at, trained.evaluation))
            outcomes.append(_validated(terminal, directory / "export" / name, at, trained.evaluation))
    for note in (note for each in outcomes for note in each.notes):
        terminal.note(note)
    document = {
        "calibration": str(trained.calibration),
        "evaluation": str(trained.evaluation),
        "artifacts": [_row_document(row) for row in rows],
        "served": [asdict(each) for each in served],
        "validated": [
            {"model": name, "passed": bool(each), "checks": len(each.verdict.checks), "report": str(each.report)}
            for name, each in zip(trained.models, outcomes, strict=True)
        ],
    }
    terminal.result(document, lambda console: _show(console, directory, rows, served, outcomes, digits.HELD_OUT))
    for each in outcomes:
        end(terminal, each, directory / "validate-failed.npz")


def _export(name: str, keras_file: Path, output: Path, trained: Any, on_step: Callable[[str], None]) -> list[_Row]:
    """Export a model, quantize it, and measure all that came out."""
    from attnexport.examples import digits
    from attnexport.workflows.convert import convert
    from attnexport.workflows.export import export_saved_model

    on_step(f"exporting {name}")
    exported = export_saved_model(
        keras_file, output, output_names=["logits"], labels=digits.LABELS, warmup=trained.calibration
    )
    converted = convert(
        exported.directory,
        _RECIPES,
        calibration=trained.calibration,
        progress=lambda message, **counts: on_step(f"{name}: {message}"),
    )
    if converted.rejected:
        raise converted.rejected[0].error
    on_step(f"evaluating {name}")
    files = {each.conversion.recipe.name: each.path for each in converted.files}
    return _measure(name, exported, files, trained.evaluation)


def _measure(name: str, exported: ExportResult, files: dict[str, Path], evaluation: Path) -> list[_Row]:
    from attnexport.core import DEFAULT_SIGNATURE, batched, load_samples
    from attnexport.core.latency import measure
    from attnexport.parity import evaluate
    from attnexport.store.files import size_of
    from attnexport.workflows.artifacts import ArtifactPath, open_runner

    keras = exported.directory / f"keras/{exported.entry.version}.keras"
    artifacts = {
        "Keras": ArtifactPath("keras", keras),
        "SavedModel": ArtifactPath("saved_model", exported.path),
        **{recipe: ArtifactPath("tflite", path) for recipe, path in files.items()},
    }
    with ExitStack() as stack:
        runners = {title: stack.enter_context(closing(open_runner(each))) for title, each in artifacts.items()}
        samples = load_samples(evaluation, runners["SavedModel"].signatures[DEFAULT_SIGNATURE].inputs)
        # Named by position: this Keras model was given no names, its exports were.
        scores = {title: next(iter(batched(runner, samples.inputs).values())) for title, runner in runners.items()}
        one = samples.take(1).inputs
        latencies = measure({title: partial(runner.run, one) for title, runner in runners.items()}, seconds=3)
    found = {title: evaluate(scores["Keras"], each, samples.labels) for title, each in scores.items()}
    return [
        _Row(name, title, size_of(artifact.path), latencies[title].p50_ms, found[title], str(artifact.path))
        for title, artifact in artifacts.items()
    ]


def _row_document(row: _Row) -> dict[str, Any]:
    return {**asdict(row), "evaluation": row.evaluation.to_dict("sqnr_db", "agreement", "accuracy")}


def _validated(terminal: Terminal, export: Path, at: EmbeddedServer, evaluation: Path) -> ValidationResult:
    """Validate with a report, also through the server that runs already."""
    from attnexport.workflows.validate import validate

    with terminal.working() as progress:
        return validate(export, evaluation=evaluation, serve=at.grpc_address or "", html=True, progress=progress)


def _served(name: str, at: EmbeddedServer, evaluation: Path) -> _Served:
    """Ask a served export for all held-out digits."""
    import json
    from urllib.request import ProxyHandler, Request, build_opener

    import numpy as np

    from attnexport.parity import agreement
    from attnexport.serving import Client

    with np.load(evaluation) as data:
        rows, labels = data["rows"], data["labels"]
    with Client(at.grpc_address or "", model=name, max_batch=64) as client:
        client.wait_until_ready()
        over_grpc = client.predict({"rows": rows})["logits"]
        int8 = client.predict({"rows": rows}, model=f"{name}.int8")["logits"]
        body = json.dumps({"inputs": {"rows": rows.tolist()}}).encode()
        request = Request(f"{at.rest_address}/v1/models/{name}:predict", body)  # noqa: S310 - the loopback's
        with build_opener(ProxyHandler({})).open(request, timeout=60) as reply:  # no proxy reaches this machine
            over_rest = np.asarray(json.load(reply)["outputs"])
    return _Served(name, *(round(agreement(labels, scores), 4) for scores in (over_grpc, over_rest, int8)))


def _show(
    console: Console,
    directory: Path,
    rows: list[_Row],
    served: list[_Served],
    outcomes: list[ValidationResult],
    held_out: int,
) -> None:
    from rich.table import Table

    from attnexport.parity.figures import decibels, percentage, share

    table = Table(box=None, pad_edge=False)
    for title in ("model", "artifact", "size", "latency", "accuracy", "agreement", "SQNR", "is in"):
        right = title in ("size", "latency", "accuracy", "agreement", "SQNR")
        table.add_column(title, overflow="fold", justify="right" if right else "left")
    for row in rows:
        found = row.evaluation
        table.add_row(
            row.model if row.artifact == "Keras" else "",
            row.artifact,
            kilobytes(row.size_bytes),
            f"{row.latency_ms:.3f} ms",
            percentage(found.accuracy),
            share(found.agreement),
            decibels(found.sqnr_db),
            str(Path(row.path).relative_to(directory)),
        )
    console.print(f"Handwritten digits, {held_out} held-out images; one image a call; agreement and SQNR with Keras:\n")
    console.print(table)
    console.print("\nServed by the embedded server, and asked for all of them:\n")
    table = Table(box=None, pad_edge=False)
    for title in ("model", "over gRPC", "over REST", "int8 over gRPC"):
        table.add_column(title, justify="left" if title == "model" else "right")
    for each in served:
        table.add_row(each.model, f"{each.grpc_accuracy:.1%}", f"{each.rest_accuracy:.1%}", f"{each.int8_accuracy:.1%}")
    console.print(table)
    console.print(f"\nAll of it is in {directory}, the trained models and their samples in {directory / 'digits'}.")
    for outcome in outcomes:
        console.print("\nValidated in every runtime: ", end="")
        print_blocks(console, outcome.blocks())
