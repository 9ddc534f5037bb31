"""`demo`: the whole way on real data, from training to serving."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, Request, build_opener

from attnexport.core.progress import Progress, silent

from .demo_result import DemoArtifact, DemoResult, ServedAccuracy

if TYPE_CHECKING:
    from attnexport.examples.digits import TrainedDigits

    from .convert_result import ConvertResult
    from .export import ExportResult
    from .served import EmbeddedServer
    from .validation_result import ValidationResult

_RECIPES = ("float32", "float16", "dynamic", "int8")
_MEASURED_SECONDS = 3.0


def demo(output: str | Path = "attnexport-demo", *, progress: Progress = silent) -> DemoResult:
    """Train on real digits, export, quantize, compare, serve.

    Two attention models are trained on scikit-learn's handwritten digits, exported for TensorFlow Serving and TFLite,
    measured, served by the embedded server, and validated.

    Args:
        output: Directory where everything is written.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if scikit-learn is not installed.
        AttnexportError: if a step fails.

    Example:
        >>> from attnexport.workflows.demo import demo
        >>> print(demo("attnexport-demo"))  # doctest: +SKIP
    """
    progress("loading TensorFlow")
    from attnexport.examples import digits

    directory = Path(output)
    trained = digits.train_digits(directory / "digits", progress=progress)
    artifacts = [
        artifact
        for name in trained.models
        for artifact in _export(name, trained, directory / "export", _prefixed(progress, name))
    ]
    served, validated = [], {}
    for name in trained.models:
        from .serve import serve

        progress(f"serving {name}")
        with serve(directory / "export" / name, in_child=True) as server:
            served.append(_query(name, server, trained.evaluation))
            validated[name] = _validate(directory / "export" / name, server, trained.evaluation, progress)
    return DemoResult(
        directory,
        trained.calibration,
        trained.evaluation,
        digits.HELD_OUT,
        tuple(artifacts),
        tuple(served),
        validated,
    )


def _export(name: str, trained: TrainedDigits, output: Path, progress: Progress) -> list[DemoArtifact]:
    """Export a model, quantize it, and measure all artifacts."""
    from attnexport.examples import digits

    from .convert import convert
    from .export import export_saved_model

    exported = export_saved_model(
        trained.models[name],
        output,
        output_names=["logits"],
        labels=digits.LABELS,
        warmup=trained.calibration,
        progress=progress,
    )
    converted = convert(exported.directory, _RECIPES, calibration=trained.calibration, progress=progress)
    if converted.rejected:
        raise converted.rejected[0].error
    progress("evaluating")
    return _measure(name, exported, converted, trained.evaluation)


def _measure(name: str, exported: ExportResult, converted: ConvertResult, evaluation: Path) -> list[DemoArtifact]:
    from attnexport.core import DEFAULT_SIGNATURE, batched, load_samples
    from attnexport.core.latency import measure
    from attnexport.parity import evaluate
    from attnexport.store.files import size_of

    from .artifacts import ArtifactPath, open_runner

    keras = exported.directory / f"keras/{exported.entry.version}.keras"
    artifacts = {
        "Keras": ArtifactPath("keras", keras),
        "SavedModel": ArtifactPath("saved_model", exported.path),
        **{each.conversion.recipe.name: ArtifactPath("tflite", each.path) for each in converted.files},
    }
    with ExitStack() as stack:
        runners = {title: stack.enter_context(closing(open_runner(each))) for title, each in artifacts.items()}
        samples = load_samples(evaluation, runners["SavedModel"].signatures[DEFAULT_SIGNATURE].inputs)
        # The Keras model's output has another name than that of its exports.
        scores = {title: next(iter(batched(runner, samples.inputs).values())) for title, runner in runners.items()}
        one = samples.take(1).inputs
        calls = {title: partial(runner.run, one) for title, runner in runners.items()}
        latencies = measure(calls, seconds=_MEASURED_SECONDS)
    return [
        DemoArtifact(
            name,
            title,
            size_of(artifact.path),
            latencies[title].p50_ms,
            evaluate(scores["Keras"], scores[title], samples.labels),
            artifact.path,
        )
        for title, artifact in artifacts.items()
    ]


def _query(name: str, server: EmbeddedServer, evaluation: Path) -> ServedAccuracy:
    """Send all held-out digits to a served export."""
    import numpy as np

    from attnexport.parity import agreement
    from attnexport.serving import Client

    with np.load(evaluation) as data:
        rows, labels = data["rows"], data["labels"]
    with Client(server.grpc_address or "", model=name, max_batch=64) as client:
        client.wait_until_ready()
        over_grpc = client.predict({"rows": rows})["logits"]
        int8 = client.predict({"rows": rows}, model=f"{name}.int8")["logits"]
    body = json.dumps({"inputs": {"rows": rows.tolist()}}).encode()
    request = Request(f"{server.rest_address}/v1/models/{name}:predict", body)  # noqa: S310 - the loopback's
    with build_opener(ProxyHandler({})).open(request, timeout=60) as reply:  # no proxy reaches this machine
        over_rest = np.asarray(json.load(reply)["outputs"])
    return ServedAccuracy(name, *(round(agreement(labels, scores), 4) for scores in (over_grpc, over_rest, int8)))


def _validate(export: Path, server: EmbeddedServer, evaluation: Path, progress: Progress) -> ValidationResult:
    """Validate with a report, also through the server that is running."""
    from .validate import validate

    return validate(export, evaluation=evaluation, serve=server.grpc_address or "", html=True, progress=progress)


def _prefixed(progress: Progress, name: str) -> Progress:
    def show(message: str, /, *, done: int = 0, total: int | None = None) -> None:
        progress(f"{name}: {message}", done=done, total=total)

    return show
