"""Export: from a model to a version in an export directory, through the gate."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from platform import python_version
from typing import Any

import tensorflow as tf

from attnexport.core.errors import ArgumentError, StorageError, check_size
from attnexport.core.limits import MAX_VERSION
from attnexport.core.os_errors import writing
from attnexport.core.samples import Samples
from attnexport.parity import Verdict
from attnexport.store.export_directory import ExportDirectory
from attnexport.store.files import hash_of, size_of
from attnexport.store.manifest import Artifact, VersionEntry
from attnexport.store.trust import remember_modules

from .cases import Warmup, gate_cases, warmup_samples
from .endpoint import Endpoint
from .gate import gate_saved_model
from .models import LoadedModel, open_source
from .plan import ExportPlan, plan_keras, plan_saved_model
from .tensorflow_errors import reason
from .warmup import RECORDS_PATH, count_warmup, write_warmup

DEFAULT_OUTPUT = "export"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class ExportResult:
    """What was exported.

    Attributes:
        directory: The export directory.
        entry: The version's entry in its manifest.
        saved_model: The SavedModel.
        verdict: Its parity with the original.
        warmup_records: How many warm-up records it carries.
        notes: What its owner should know, a sentence each.
    """

    directory: Path
    entry: VersionEntry
    saved_model: Artifact
    verdict: Verdict
    warmup_records: int
    notes: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where the SavedModel is."""
        return self.directory / self.saved_model.path


def export_saved_model(
    model: Any,
    output: str | os.PathLike[str] = DEFAULT_OUTPUT,
    *,
    name: str | None = None,
    version: int | None = None,
    imports: Iterable[str] = (),
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    steps: int | None = None,
    batch: int | None = None,
    signatures: Sequence[str] = (),
    endpoints: Sequence[Endpoint] = (),
    labels: Sequence[str] | None = None,
    warmup: Warmup | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> ExportResult:
    """Export a model as the next version of `output/name`, with named signatures and warm-up records.

    Args:
        model: A `keras.Model`, a PresetConfig, or what `load_model` takes; a SavedModel is copied as it is.
        output: The directory of all exports.
        name: The export's name; the preset's, the file's or the model's where None.
        version: A version that does not exist yet; the next one where None.
        imports: Modules that register custom layers.
        input_names: Names for the inputs, in order (a dict's: of its sorted keys); Keras's where empty, and generated
            ones become `input`.
        output_names: Names for the outputs, in order (a dict's: of its sorted keys); a preset's own, a dict's keys or
            those that their layers were given where empty, else `output`.
        steps: Fix free steps to this.
        batch: Fix the batch to this; free where None.
        signatures: Which of the offered signatures to export beside `serving_default`; all where empty.
        endpoints: Signatures of your own.
        labels: Names of the classes, for the signature `classify`.
        warmup: Samples to make warm-up records of (a path, or arrays by input name), or how many synthetic ones; 3
            where None, or those that a copied SavedModel has.
        on_step: Called with what is being done now.

    Raises:
        ArgumentError: for arguments that cannot work.
        ModelError: where the model cannot be loaded or traced.
        SamplesError: where the warm-up samples do not fit.
        GateError: where the SavedModel is not what was asked for; nothing was kept.
        ParityError: where it computes something else; nothing was kept.
        StorageError: where the file system refuses; nothing was kept.
    """
    if version is not None:
        check_size("version", version, most=MAX_VERSION)
    checked = _check_texts("imports", imports)
    on_step("loading the model")
    loaded = open_source(model, checked)
    directory = ExportDirectory(Path(output) / _check_name(loaded.name if name is None else name))
    if version is not None:
        directory.check_free(version)
    options: dict[str, Any] = {
        "input_names": _check_texts("input_names", input_names),
        "output_names": _check_texts("output_names", output_names),
        "steps": steps,
        "batch": batch,
        "signatures": _check_texts("signatures", signatures),
        "endpoints": endpoints,
        "labels": None if labels is None else _check_texts("labels", labels),
    }
    on_step("tracing its signatures")
    plan = _plan(loaded, options)
    with closing(plan.reference):
        samples, notes = warmup_samples(plan, warmup)
        notes += plan.notes
        if "serve" in plan.signatures:
            notes.append("its signature 'serve' makes the TFLite converter ignore the others")
        with directory.stage() as stage:
            on_step("writing the SavedModel")
            saved_model = stage.add("saved_model", "saved_model/{version}")
            with _writing(directory.root):
                original = None
                if plan.write_original:
                    original = stage.add("original.keras", "keras/{version}.keras")
                    notes += plan.write_original(original)
                plan.write(saved_model)
                _write_warmup(saved_model, directory.name, plan, samples)
            on_step("checking it in a session")
            cases, not_compared = gate_cases(plan, samples)
            notes += not_compared
            verdict = gate_saved_model(
                saved_model,
                plan.reference,
                cases,
                expected=plan.signatures,
                precision=plan.precision,
                reference_name=plan.reference_name,
            )
            records = count_warmup(saved_model)
            written = {"saved_model": saved_model, **({"keras": original} if original else {})}
            files = {kind: (size_of(path), hash_of(path)) for kind, path in written.items()}
            source = {**loaded.source, "imports": list(loaded.imports), **({"labels": list(labels)} if labels else {})}
            entry = stage.commit(lambda number: _entry(number, source, plan, verdict, files), version=version)
    remember_modules(loaded.imports, files["keras" if original else "saved_model"][1])
    artifact = next(each for each in entry.artifacts if each.kind == "saved_model")
    return ExportResult(directory.root, entry, artifact, verdict, records, (*loaded.notes, *notes))


def _check_texts(what: str, texts: Iterable[str]) -> list[str]:
    """A list of texts; one text alone would be taken for its letters."""
    found = [] if isinstance(texts, str) else list(texts)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in found):
        raise ArgumentError(f"{what} must be a list of texts; received {texts!r}")
    return found


def _check_name(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(f"name {name!r} is not usable: letters, digits, '_', '-' and '.' make a name")
    return name


def _plan(loaded: LoadedModel, options: Mapping[str, Any]) -> ExportPlan:
    if loaded.model is not None:
        return plan_keras(loaded, **options)
    if given := [key for key, value in options.items() if value not in (None, (), [])]:
        raise ArgumentError(
            f"{', '.join(given).replace('_', ' ')} cannot be chosen for a SavedModel, whose signatures are written "
            "already; export the Keras model instead"
        )
    return plan_saved_model(loaded)


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


def _write_warmup(saved_model: Path, name: str, plan: ExportPlan, samples: Samples | None) -> None:
    """Write a record a sample and signature; without samples what a copied SavedModel has stays."""
    if samples is None:
        return
    (saved_model / RECORDS_PATH).unlink(missing_ok=True)
    if len(samples):
        inputs = {each: feed(samples.inputs) for each, feed in plan.feeds.items()}
        write_warmup(saved_model, name, plan.signatures, inputs)


def _entry(
    number: int,
    source: Mapping[str, Any],
    plan: ExportPlan,
    verdict: Verdict,
    files: Mapping[str, tuple[int, str]],
) -> VersionEntry:
    """A version's entry; `files` are size in bytes and hash of what was written, by kind."""
    paths = {"keras": f"keras/{number}.keras", "saved_model": f"saved_model/{number}"}
    artifacts = tuple(
        Artifact(
            kind,
            paths[kind],
            plan.content_hash,
            files[kind][0],
            plan.precision,
            tuple(plan.signatures.values()),
            verdict.to_json() if kind == "saved_model" else None,
            files[kind][1],
        )
        for kind in sorted(files)
    )
    packages = ("attnexport", "tensorflow", "keras", "numpy")
    return VersionEntry(
        version=number,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=source,
        environment={"python": python_version(), **{each: installed_version(each) for each in packages}},
        reference=plan.reference_name,
        artifacts=artifacts,
        names=plan.names,
    )
