"""What a validation compares with the original: the artifacts of a version in every runtime, and over the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from attnexport.core.errors import ArgumentError, ContentError, GateError, ModelError, ServingError, first_line
from attnexport.core.progress import Progress
from attnexport.core.runner import Runner, batched
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays
from attnexport.exporter import EagerSavedModelRunner, SavedModelRunner
from attnexport.parity import Subject
from attnexport.parity.checks import HALF
from attnexport.parity.validation import takes
from attnexport.serving import Client, ClientRunner
from attnexport.store import Artifact, ExportDirectory, VersionEntry
from attnexport.tflite import CompiledModelRunner, TFLiteRunner
from attnexport.tflite.probe import RunCheck

from .serve import serve as serve_export
from .versions import QUANTIZED_BY


class DamagedRunner:
    """Stands for an artifact that was not loaded, as it would crash this process: each call fails with the reason."""

    def __init__(self, artifact: Artifact, reason: GateError) -> None:
        self.signatures = {each.name: each for each in artifact.signatures}
        self._reason = reason

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        raise self._reason

    def close(self) -> None:
        """Nothing is open."""


def without_damaged(entry: VersionEntry, subjects: Sequence[Subject]) -> VersionEntry:
    """A version without the artifacts that must not be loaded in this process."""
    damaged = {each.artifact for each in subjects if isinstance(each.runner, DamagedRunner)}
    return replace(entry, artifacts=tuple(each for each in entry.artifacts if each.path not in damaged))


def open_subjects(directory: ExportDirectory, entry: VersionEntry, stack: ExitStack) -> list[Subject]:
    """Every artifact of a version in every runtime, open until the stack is closed.

    A .tflite is run in a child process first; one that crashes it fails in every comparison.

    Raises:
        ModelError: An artifact cannot be trusted.
    """
    subjects = []
    with RunCheck() as check:
        for artifact in entry.artifacts:
            for runtime, runner in _runners(artifact, directory.root / artifact.path, check):
                stack.enter_context(closing(runner))
                subjects.append(Subject.of(artifact, runtime, runner))
            if artifact.kind == "tflite" and not isinstance(subjects[-1].runner, DamagedRunner):
                subjects += _in_half(artifact, directory.root / artifact.path, stack)
    return subjects


def _in_half(artifact: Artifact, path: Path, stack: ExitStack) -> list[Subject]:
    """A .tflite in half precision; none if this CPU's kernels do not offer it."""
    try:
        runner = stack.enter_context(closing(CompiledModelRunner(path, half=True)))
    except ModelError:
        return []
    return [Subject.in_half(artifact, runner)]


def without_half(subjects: Sequence[Subject], inputs: Arrays) -> tuple[list[Subject], list[str]]:
    """The subjects that can be judged on these inputs, and a note on half precision if it cannot hold them."""
    greatest = float(np.finfo(np.float16).max)
    for name, array in inputs.items():
        if array.dtype.kind != "f" or not array.size:
            continue
        value = max(float(array.max()), -float(array.min()))
        if value > greatest and any(each.runtime == HALF for each in subjects):
            note = (
                f"half precision is not compared: input {name!r} holds {value:g}, and float16 ends at {greatest:g}; a "
                "phone's GPU computes in it by default: scale that before the model"
            )
            return [each for each in subjects if each.runtime != HALF], [note]
    failures = {id(each): _failure(each.runner, inputs) for each in subjects if each.runtime == HALF}
    notes = [
        f"half precision of {each.artifact} is not compared: this CPU does not run it so ({failures[id(each)]})"
        for each in subjects
        if failures.get(id(each))
    ]
    return [each for each in subjects if not failures.get(id(each))], notes


def _failure(runner: Runner, inputs: Arrays) -> str:
    """Why one sample does not run, or nothing: LiteRT finds only then what its kernels lack in half precision.

    A file that is wrong itself fails in its other runtimes, too.
    """
    default = runner.signatures.get(DEFAULT_SIGNATURE)
    if default is None or not takes(default, inputs):
        return ""
    try:
        batched(runner, {name: array[:1] for name, array in inputs.items()})
    except ModelError as error:
        return first_line(error)
    return ""


def beside_quantized(entry: VersionEntry, subjects: Sequence[Subject]) -> tuple[list[Subject], list[str]]:
    """The subjects, with budgets for .tflite files that are compared with what Keras quantized, and a note on them.

    They were made of the float weights of a live model, which is gone, and are held to the row of Keras's quantization:
    those that are quantized themselves to the widest.
    """
    from attnexport.exporter.models.float32 import precision_of_quantization

    mode = entry.source.get(QUANTIZED_BY)
    row = precision_of_quantization(mode)
    files = [each for each in subjects if each.artifact.startswith("tflite/")]
    if row is None or not files:
        return list(subjects), []
    exact = ("float32", "float16", "bfloat16")
    widened = {
        id(each): replace(each, precision=row if each.precision in exact else "int4", min_sqnr_db=None)
        for each in files
    }
    note = (
        f"the .tflite files were made of the float weights of a model that Keras quantized ({mode}), which the live "
        "model alone has: they are compared with the SavedModel, which computes as Keras quantized it, and are allowed "
        "that difference as well"
    )
    return [widened.get(id(each), each) for each in subjects], [note]


def server_subjects(address: str, model: str, entry: VersionEntry, stack: ExitStack) -> list[Subject]:
    """A version's SavedModel through a server.

    Raises:
        ArgumentError: The version has no SavedModel.
        ServingError: The server is unreachable, or does not have the model.
    """
    artifact = entry.artifact("saved_model")
    if artifact is None:
        raise ArgumentError(f"version {entry.version} has no SavedModel to compare with a server's")
    return _over_grpc(address, {model: artifact}, entry, stack)


def embedded_server_subjects(
    directory: ExportDirectory,
    entry: VersionEntry,
    serve: bool | str,
    imports: Sequence[str],
    stack: ExitStack,
    progress: Progress,
) -> list[Subject]:
    """Every artifact of a version through the embedded server: the one at this address, or one that is started."""
    if isinstance(serve, str):
        address = serve
    else:
        progress("starting the embedded server")
        # In a child, so that the server does not share Python's lock with the Runners beside it.
        server = stack.enter_context(serve_export(directory.root, imports=imports, in_child=True))
        address = server.grpc_address or ""
    return _over_grpc(address, _served_names(directory, entry), entry, stack)


def _runners(artifact: Artifact, path: Path, check: RunCheck) -> Iterator[tuple[str, Runner]]:
    if artifact.kind == "saved_model":
        try:
            session = SavedModelRunner(path)
        except ModelError as error:  # it was exported, and is not what was exported
            yield "session", DamagedRunner(artifact, GateError(str(error)))
            return
        yield "session", session
        try:
            eager = EagerSavedModelRunner(path, session.signatures)
        except ModelError as error:
            yield "eager", DamagedRunner(artifact, GateError(str(error)))
        else:
            yield "eager", eager
    elif artifact.kind == "tflite":
        try:
            check(path, compiled=True)
        except (ContentError, GateError) as error:
            if not artifact.signatures:
                raise  # no comparison would report it
            yield "interpreter", DamagedRunner(artifact, GateError(str(error)))
            return
        yield "interpreter", TFLiteRunner(path)
        yield "CompiledModel", CompiledModelRunner(path)


def _over_grpc(address: str, artifacts: Mapping[str, Artifact], entry: VersionEntry, stack: ExitStack) -> list[Subject]:
    """Artifacts by the names that a server serves them under."""
    subjects = []
    for name, artifact in artifacts.items():
        client = stack.enter_context(Client(address, model=name))
        runner = ClientRunner(client, version=entry.version)
        if (runner.model, runner.version) != (name, entry.version):
            raise ServingError(
                f"{address} answers for version {runner.version} of {runner.model!r}; version {entry.version} of "
                f"{name!r} is needed",
                address=address,
                model=name,
            )
        subjects.append(Subject.of(artifact, "gRPC", runner))
    return subjects


def _served_names(directory: ExportDirectory, entry: VersionEntry) -> dict[str, Artifact]:
    """The names that the embedded server gives to the artifacts of a version."""
    names: dict[str, Artifact] = {}
    for artifact in entry.artifacts:
        if artifact.kind == "saved_model":
            names[directory.name] = artifact
        elif artifact.kind == "tflite":
            names[Path(artifact.path).stem] = artifact
    return names
