"""From an open model to a version in an export directory, through the gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from platform import python_version
from typing import Any

import tensorflow as tf

from attnexport.core.errors import StorageError
from attnexport.core.os_errors import writing
from attnexport.core.progress import Progress, silent
from attnexport.core.samples import Samples, SampleSource
from attnexport.core.signature import DEFAULT_SIGNATURE
from attnexport.parity import Verdict
from attnexport.parity.mixing import mixed_output
from attnexport.store.export_directory import ExportDirectory
from attnexport.store.files import hash_of, size_of
from attnexport.store.manifest import Artifact, VersionEntry
from attnexport.store.trust import remember_modules, remember_program

from .cases import gate_cases, warmup_samples
from .gate import gate_saved_model
from .model_source import SAVED_MODEL_NAME, ModelSource
from .programs import does_more_than_compute
from .tensorflow_errors import reason
from .warmup import RECORDS_PATH, count_warmup, write_warmup


@dataclass(frozen=True)
class ExportedVersion:
    """A version that was written.

    Attributes:
        entry: Its entry in the manifest.
        verdict: The parity of its SavedModel with the original.
        warmup_records: How many warm-up records it carries.
        notes: What its owner should know, a sentence each.
    """

    entry: VersionEntry
    verdict: Verdict
    warmup_records: int
    notes: tuple[str, ...]


def export_version(
    source: ModelSource,
    directory: ExportDirectory,
    *,
    version: int | None = None,
    warmup: int | SampleSource | None = None,
    details: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> ExportedVersion:
    """Export an open model as a version of an export, with warm-up records.

    Args:
        source: The model.
        directory: The export.
        version: A version that does not exist yet; the next one if None.
        warmup: Samples to make warm-up records of (a path, or arrays by input name), or how many synthetic ones; 3
            if None, or those that a copied SavedModel has.
        details: What the manifest says of the model's origin, besides the origin itself.
        progress: Called with what is being done now.

    Raises:
        SamplesError: if the warm-up samples do not fit.
        GateError: if the SavedModel is not what was asked for; nothing was kept.
        ParityError: if it computes something else; nothing was kept.
        StorageError: if the file system refuses; nothing was kept.

    Example:
        >>> from pathlib import Path
        >>> from attnexport.exporter import build_model, open_model
        >>> from attnexport.store import ExportDirectory
        >>> source = open_model(build_model(steps=4, features=8, units=16, classes=3))
        >>> export_version(source, ExportDirectory(Path("export/small"))).entry.version
        1
    """
    samples, notes = warmup_samples(source, warmup)
    notes += source.notes
    if "serve" in source.signatures:
        notes.append("its signature 'serve' makes the TFLite converter ignore the others")
    progress("running the original")
    cases, not_compared = gate_cases(source, samples)
    notes += not_compared
    several = next((case for case in cases if case.signature == DEFAULT_SIGNATURE), None)
    if several is not None and (mixed := mixed_output(source.reference, several)) is not None:
        notes.append(
            f"output {mixed!r} of a sample changes with the other samples of its batch: a server that joins the "
            "requests of several clients (batching) would mix them, and a .tflite of one sample answers otherwise"
        )
    with directory.stage() as stage:
        progress("writing the SavedModel")
        saved_model = stage.add("saved_model", "saved_model/{version}")
        written = {"saved_model": saved_model}
        with _writing(directory.root):
            source.write(saved_model)
            _write_warmup(saved_model, directory.name, source, samples)
        progress("checking it in a session")
        verdict = gate_saved_model(
            saved_model,
            source.reference,
            cases,
            expected=source.signatures,
            precision=source.precision,
            reference_name=source.reference_name,
        )
        problem = None
        if source.origin.saved_model is None:
            progress("checking the .keras")
            original = stage.add("original.keras", "keras/{version}.keras")
            with _writing(directory.root):
                problem = source.write_original(original, cases)
            if problem is None:
                written["keras"] = original
            else:
                stage.discard(original)
                notes.append(
                    f"the .keras that Keras writes of this model {problem.rstrip('.')}. It was not kept: the "
                    "SavedModel is right, and the .tflite files of this version are made from it and compared with it"
                )
        records = count_warmup(saved_model)
        files = {kind: (size_of(path), hash_of(path)) for kind, path in written.items()}
        origin = {**source.origin.source, "imports": list(source.origin.imports), **(details or {})}
        if problem is not None:
            origin["keras_problem"] = problem
        entry = stage.commit(lambda number: _entry(number, origin, source, verdict, files), version=version)
    if does_more_than_compute(directory.root / "saved_model" / str(entry.version)):
        remember_program(files["saved_model"][1])
    remember_modules(source.origin.imports, files["keras" if "keras" in files else "saved_model"][1])
    return ExportedVersion(entry, verdict, records, (*source.origin.notes, *notes))


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """As core's `writing`, for TensorFlow's file errors, too."""
    with writing(root):
        try:
            yield
        except tf.errors.OpError as error:
            full = "No space left" in str(error) or isinstance(error, tf.errors.ResourceExhaustedError)
            raise StorageError(
                f"cannot write {root}: {'no space left on device' if full else reason(error)}"
            ) from error


def _write_warmup(saved_model: Path, name: str, source: ModelSource, samples: Samples | None) -> None:
    """Write a record for each sample and signature; without samples, a copied SavedModel keeps its own."""
    if samples is None:
        return
    (saved_model / RECORDS_PATH).unlink(missing_ok=True)
    if len(samples):
        inputs = {each: feed(samples.inputs) for each, feed in source.feeds.items()}
        write_warmup(saved_model, name, source.signatures, inputs)


def _entry(
    number: int,
    origin: Mapping[str, Any],
    source: ModelSource,
    verdict: Verdict,
    files: Mapping[str, tuple[int, str]],
) -> VersionEntry:
    """A version's entry; `files` are size in bytes and hash of what was written, by kind."""
    paths = {"keras": f"keras/{number}.keras", "saved_model": f"saved_model/{number}"}
    artifacts = tuple(
        Artifact(
            kind,
            paths[kind],
            source.content_hash,
            files[kind][0],
            source.precision,
            tuple(source.signatures.values()),
            verdict.to_json() if kind == "saved_model" else None,
            files[kind][1],
        )
        for kind in sorted(files)
    )
    packages = ("attnexport", "tensorflow", "keras", "numpy")
    return VersionEntry(
        version=number,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=origin,
        environment={"python": python_version(), **{each: installed_version(each) for each in packages}},
        # What is left in the version to compare with.
        reference=source.reference_name if "keras" in files else SAVED_MODEL_NAME,
        artifacts=artifacts,
        names=source.names,
    )
