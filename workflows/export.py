"""Export: a model becomes a version of a SavedModel that TensorFlow Serving accepts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, StorageError, check_size
from attnexport.core.limits import MAX_VERSION
from attnexport.core.printable import printable, shell_word
from attnexport.core.progress import Progress, silent
from attnexport.core.wording import worded_all

from .consent import check_named, check_same_model
from .inheritance import differences, newest_entry, open_like
from .result import Block, Line, Result, Table
from .sizes import counted, kilobytes

if TYPE_CHECKING:
    from attnexport.core.samples import SampleSource
    from attnexport.core.signature import Shape, TensorSpec
    from attnexport.exporter import Endpoint, ModelSource, PresetConfig
    from attnexport.parity import Verdict
    from attnexport.store import Artifact, ExportDirectory, VersionEntry

DEFAULT_OUTPUT = "export"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class ExportResult(Result):
    """An exported version.

    Attributes:
        directory: The export directory.
        entry: The version's entry in its manifest.
        saved_model: The SavedModel.
        verdict: Its parity with the original.
        warmup_records: How many warm-up records it carries.
        notes: What the model's owner should know, a sentence each.
    """

    directory: Path
    entry: VersionEntry
    saved_model: Artifact
    verdict: Verdict
    warmup_records: int
    notes: tuple[str, ...]

    @property
    def version(self) -> int:
        """The version's number, as the other results have it."""
        return self.entry.version

    @property
    def path(self) -> Path:
        """The SavedModel's directory."""
        return self.directory / self.saved_model.path

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.directory.name,
            "version": self.version,
            "directory": str(self.directory),
            "saved_model": str(self.path),
            "size_bytes": self.saved_model.size_bytes,
            "signatures": [asdict(signature) for signature in self.saved_model.signatures],
            "parity": self.verdict.to_json(),
            "warmup_records": self.warmup_records,
            "notes": list(self.notes),
        }

    def blocks(self) -> Sequence[Block]:
        size, name, worst = kilobytes(self.saved_model.size_bytes), self.directory.name, self.verdict.worst
        served, base, path = (
            shell_word(str(each)) for each in (self.directory, self.path.parent.absolute(), self.path)
        )
        rows = [
            (printable(each.name), *("\n".join(map(str, specs)) for specs in (each.inputs, each.outputs)))
            for each in self.saved_model.signatures
        ]
        return [
            f"{self.path} ({size}): {name} version {self.entry.version}\n",
            Table(("signature", "takes", "gives"), rows),
            f"\nparity   {worst.description if worst else 'no cases'}, against {self.verdict.reference}",
            f"warm-up  {counted(self.warmup_records, 'record')}, replayed\n",
            "Next:",
            Line(f"  attnexport serve {served}"),
            Line(f"  tensorflow_model_server --port=8500 --model_name={shell_word(name)} --model_base_path={base}"),
            Line(f"  saved_model_cli show --all --dir {path}"),
        ]


def export_saved_model(
    model: str | os.PathLike[str] | PresetConfig | Any,
    output: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    version: int | None = None,
    imports: Iterable[str] = (),
    trust: bool = False,
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    steps: int | None = None,
    batch: int | None = None,
    shapes: Mapping[str, Shape] | None = None,
    inputs: Sequence[TensorSpec] = (),
    new_signature: bool = False,
    signatures: Sequence[str] = (),
    endpoints: Sequence[Endpoint] = (),
    labels: Sequence[str] | None = None,
    warmup: int | SampleSource | None = None,
    inherit: bool = True,
    progress: Progress = silent,
) -> ExportResult:
    """Export a model as the next version of `output/name`, with named signatures and warm-up records.

    The SavedModel is loaded the way TensorFlow Serving loads it and compared with the model before it takes its name.

    Args:
        model: A `keras.Model`, a PresetConfig, the path of a `.keras` file, an export or a SavedModel (which is copied
            as it is), or a factory's `package.module:function`.
        output: The directory of all exports; `export` if None.
        name: The export's name; the preset's, the file's or the model's if None.
        version: A version that does not exist yet; the next one if None.
        imports: Modules that register custom layers.
        trust: Import the modules that an export names, even if it was made elsewhere.
        input_names: Names for the inputs, in order (dicts by their sorted keys); Keras's if empty, and
            generated ones become `input`.
        output_names: Names for the outputs, in order (dicts by their sorted keys); if empty, a preset's own,
            a dict's keys or those that their layers were given, else `output`.
        steps: Fix free steps to this.
        batch: Fix the batch to this; free if None.
        shapes: Shapes for inputs, by name; None in one leaves a dimension as it is.
        inputs: The inputs of a model that does not know them itself: a subclassed one of several arguments or tokens.
        new_signature: Whether the version may take or give other tensors than the last one: a server that watches the
            directory switches to it.
        signatures: Which of the offered signatures to export beside `serving_default`; all if empty.
        endpoints: Signatures of your own.
        labels: Names of the classes, for the signature `classify`.
        warmup: Samples to make warm-up records of (a path, or arrays by input name), or how many synthetic ones; 3
            if None, or those that a copied SavedModel has.
        inherit: Take over the names and labels that the export's last version was given, unless others are given.
        progress: Called with what is being done now.

    Raises:
        ArgumentError: for arguments that cannot work.
        ModelError: if the model cannot be loaded or traced.
        SamplesError: if the warm-up samples do not fit.
        GateError: if the SavedModel is not what was asked for; nothing was kept.
        ParityError: if it computes something else; nothing was kept.
        StorageError: if the file system refuses; nothing was kept.

    Example:
        >>> import attnexport as ax
        >>> model = ax.build_model(steps=4, features=8, units=16, classes=3)
        >>> result = ax.export_saved_model(model, name="small")
        >>> [signature.name for signature in result.saved_model.signatures]
        ['serving_default', 'attention']
        >>> bool(result.verdict)
        True
    """
    check_model(model)
    if version is not None:
        check_size("version", version, most=MAX_VERSION)
    checked = check_texts("imports", imports)
    input_names, output_names = check_texts("input_names", input_names), check_texts("output_names", output_names)
    signatures = check_texts("signatures", signatures)
    labels = None if labels is None else check_texts("labels", labels)
    if isinstance(warmup, str | os.PathLike) and not Path(warmup).exists():
        raise ArgumentError(f"samples {warmup} do not exist")
    progress("loading TensorFlow")
    import tensorflow  # noqa: F401 - before Keras, which would be named where neither is installed

    from attnexport.exporter import check_exportable, open_source
    from attnexport.store.trust import trusting

    progress("loading the model")
    with trusting(trust):
        origin = open_source(model, checked, inputs)
    directory = export_directory(DEFAULT_OUTPUT if output is None else output, origin.name if name is None else name)
    if version is not None:
        directory.check_free(version)
    if origin.saved_model is None:
        check_exportable(origin.model)
    progress("tracing its signatures")
    source, kept, notes = open_like(
        newest_entry(directory) if inherit else None,
        origin,
        input_names=input_names,
        output_names=output_names,
        steps=steps,
        batch=batch,
        shapes=shapes,
        inputs=inputs,
        signatures=signatures,
        endpoints=endpoints,
        labels=labels,
    )
    with closing(source):
        result = export_source(
            source,
            directory,
            version=version,
            new_signature=new_signature,
            kept=kept,
            warmup=warmup,
            progress=progress,
        )
    return replace(result, notes=worded_all((*notes, *result.notes)))


def export_source(
    source: ModelSource,
    directory: ExportDirectory,
    *,
    version: int | None = None,
    new_signature: bool = False,
    kept: Mapping[str, Sequence[str]] | None = None,
    warmup: int | SampleSource | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Export a model that is open already; see `export_saved_model`. `kept` are the names and labels it was given."""
    from attnexport.exporter import export_version

    if not new_signature:
        check_same_model(directory, source)
        check_named(directory, source)
    previous = newest_entry(directory)
    details: dict[str, Any] = {name: list(value) for name, value in (kept or {}).items()}
    if declared := source.origin.declared:
        details["declared_inputs"] = [asdict(each) for each in declared]
    if source.quantized_by:
        details["quantized_by"] = source.quantized_by
    done = export_version(source, directory, version=version, warmup=warmup, details=details, progress=progress)
    artifact = next(each for each in done.entry.artifacts if each.kind == "saved_model")
    notes = list(done.notes)
    if previous is not None and (changes := differences(previous, artifact.signatures, details.get("labels", []))):
        notes.append(f"version {done.entry.version} is not like version {previous.version} to clients: {changes}")
    return ExportResult(directory.root, done.entry, artifact, done.verdict, done.warmup_records, worded_all(notes))


def export_directory(output: str | os.PathLike[str], name: str) -> ExportDirectory:
    """The export of a name.

    Raises:
        ArgumentError: if the name cannot be a directory's and a model's.
        StorageError: if a file stands where the directory would be.
    """
    from attnexport.store import ExportDirectory

    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(f"name {name!r} is not usable: letters, digits, '_', '-' and '.' make a name")
    root = Path(output) / name
    for each in (root.parent, root):
        if each.exists() and not each.is_dir():
            raise StorageError(f"cannot write {root}: {each} is not a directory")
    return ExportDirectory(root)


def check_model(model: Any) -> None:
    """Refuse what cannot be a model, before TensorFlow is loaded to tell.

    Raises:
        ArgumentError: naming its type.
    """
    if not isinstance(model, str) and type(model).__module__ == "builtins":
        raise ArgumentError(f"model must be a keras.Model or a path; received {type(model).__name__}")


def check_texts(what: str, texts: Iterable[str]) -> list[str]:
    """A list of texts; one text alone would be taken for its letters."""
    checked = [] if isinstance(texts, str) else list(texts)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in checked):
        raise ArgumentError(f"{what} must be a list of texts; received {texts!r}")
    return checked
