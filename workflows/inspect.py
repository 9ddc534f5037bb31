"""`inspect`: what an artifact holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, ContentError
from attnexport.core.printable import printable
from attnexport.core.progress import Progress, silent
from attnexport.core.wording import worded

from .export import check_model
from .node_data import check_node_data, delegated, write_node_data
from .result import Block, Line, Result, Table
from .sizes import counted, kilobytes

if TYPE_CHECKING:
    import keras

    from attnexport.exporter.inspection import KerasInspection, SavedModelInspection
    from attnexport.store import Manifest
    from attnexport.store.kinds import Kind
    from attnexport.store.manifest import ValidationRecord, VersionEntry
    from attnexport.tflite import TFLiteInspection
    from attnexport.tflite.inspection import Delegation, SignatureInspection

    from .artifacts import ArtifactPath

Rows = list[tuple[str, str]]
# What a version's origin is called, by its kind in the manifest, and the detail that names it.
_ORIGINS = {
    "keras": ("", "file"),
    "h5": ("", "file"),
    "factory": ("", "factory"),
    "preset": ("the preset", "preset"),
    "object": ("a model in memory, a", "class"),
    "export": ("the export", "export"),
    "saved_model": ("the SavedModel", "directory"),
}
_MAX_WEIGHTED, _MAX_LABELS = 24, 10  # operators and labels that are shown


@dataclass(frozen=True)
class InspectionResult(Result):
    """What an artifact holds.

    Attributes:
        kind: What the artifact is.
        path: Where it is; None for a model in memory.
        contents: A TFLiteInspection, SavedModelInspection or KerasInspection, or the Manifest of an export.
    """

    kind: Kind
    path: str | None
    contents: TFLiteInspection | SavedModelInspection | KerasInspection | Manifest

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": self.path, **asdict(self.contents)}

    def blocks(self) -> Sequence[Block]:
        rows = _ROWS[self.kind](self.contents, Path(self.path or ""))
        return [*([Line(f"{self.path}\n")] if self.path else []), Table(("", ""), rows)]


def inspect(
    artifact: str | Path | keras.Model,
    *,
    imports: Sequence[str] = (),
    trust: bool = False,
    node_data: str | Path | None = None,
    progress: Progress = silent,
) -> InspectionResult:
    """Show what an artifact holds.

    A .tflite is run through the XNNPACK delegate's planner in a child process, a .keras file is loaded, and of a
    SavedModel the graph is read, without running it. An export shows its manifest.

    Args:
        artifact: Path of a .tflite, a SavedModel, a .keras file or an export directory; or a Keras model.
        imports: Modules that register the custom layers of a .keras file.
        trust: Import the modules that the export names, even if it was made elsewhere.
        node_data: A .json file to write what the delegate takes of a .tflite to, for Model Explorer to colour.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if nothing is there, or a module does not exist.
        ContentError: if it does not load.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> inspect(model).contents.weight_bytes
        {'float32': 40}
    """
    check_model(artifact)
    if not isinstance(artifact, str | Path):
        from attnexport.exporter.inspection import inspect_keras

        return InspectionResult("keras", None, inspect_keras(artifact, None))
    from attnexport.store.trust import check_modules, trusting

    from .artifacts import find_artifact

    target = check_node_data(node_data)
    located = find_artifact(Path(artifact))
    if target is not None and located.kind != "tflite":
        raise ArgumentError(f"--node-data is for a .tflite, and {artifact} is not one")
    progress(f"inspecting {artifact}")
    contents: TFLiteInspection | SavedModelInspection | KerasInspection | Manifest
    if located.kind == "tflite":
        contents = _inspect_tflite(located.path)
        if target is not None:
            write_node_data(target, {str(located.path): delegated(located.path.read_bytes(), contents)})
    elif located.kind == "saved_model":
        from attnexport.exporter.inspection import inspect_saved_model

        contents = inspect_saved_model(located.path)
    elif located.kind == "keras":
        with trusting(trust):
            check_modules(located.imports, located.path, imports)
        contents = _inspect_keras(located, imports)
    else:
        from attnexport.store import ExportDirectory

        contents = ExportDirectory(located.path).manifest()
    return InspectionResult(located.kind, str(artifact), contents)


def _inspect_tflite(path: Path) -> TFLiteInspection:
    from attnexport.tflite import inspect_tflite
    from attnexport.tflite.runner import read_file

    try:
        return inspect_tflite(read_file(path))
    except ContentError as error:  # its message names no file
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _inspect_keras(located: ArtifactPath, imports: Sequence[str]) -> KerasInspection:
    from attnexport.exporter import load_model
    from attnexport.exporter.inspection import inspect_keras

    model = load_model(located.path, (*imports, *located.imports), inputs=located.inputs)
    return inspect_keras(model, located.path)


def _tflite_rows(contents: TFLiteInspection, path: Path) -> Rows:
    version, metadata = contents.min_runtime_version, contents.metadata
    rows = [
        *([] if metadata is None else [("model", f"{metadata.name} version {metadata.version}, {metadata.recipe}")]),
        *([("labels", _some(metadata.labels))] if metadata is not None and metadata.labels else []),
        ("size", kilobytes(contents.size_bytes)),
        ("constants", _sizes(contents.constant_bytes)),
        ("runtime", f"TFLite {version} or later" if version else "not recorded"),
    ]
    for each in contents.signatures:
        rows += [
            ("signature", str(each.signature)),
            *(
                ("quantized", f"{printable(name)}: scale {scale:.6g}, zero point {zero}")
                for name, (scale, zero) in each.quantization.items()
            ),
            ("operators", _counts(each.operators)),
            ("XNNPACK", _delegation(each)),
            ("activations", f"{kilobytes(each.activation_bytes)} at most at once"),
            *_weight_rows(each),
        ]
    return rows + [("advice", worded(printable(text))) for text in contents.advice]


def _weight_rows(signature: SignatureInspection) -> Rows:
    """The operators with weights by the names that --keep-float matches, and the line to copy for the first."""
    rows = [
        ("weights", printable(f"{each.name} {each.dtype} {kilobytes(each.bytes)}: {each.tensor}"))
        for each in signature.weighted[:_MAX_WEIGHTED]
    ]
    if len(signature.weighted) > _MAX_WEIGHTED:
        rows.append(("", f"and {len(signature.weighted) - _MAX_WEIGHTED} more, which --json lists"))
    return rows


def _some(texts: Sequence[str]) -> str:
    return ", ".join(map(printable, texts[:_MAX_LABELS])) + (
        f" and {len(texts) - _MAX_LABELS} more" * (len(texts) > _MAX_LABELS)
    )


def _delegation(signature: SignatureInspection) -> str:
    return f"unknown: {signature.undelegated}" if signature.delegation is None else _taken(signature.delegation)


def _taken(delegation: Delegation) -> str:
    partitions = counted(delegation.partitions, "partition")
    left = _counts(delegation.left) if delegation.left else "none"
    inside = (f"; inside {name}: {_taken(each)}" for name, each in delegation.inside.items())
    return "".join([f"takes {counted(delegation.taken, 'operator')} in {partitions}, leaves {left}", *inside])


def _saved_model_rows(contents: SavedModelInspection, path: Path) -> Rows:
    return [
        ("size", kilobytes(contents.size_bytes)),
        ("variables", _sizes(contents.variable_bytes)),
        *[("signature", f"{each} ({each.method})") for each in contents.signatures],
        ("operators", _counts(contents.operators)),
        ("warm-up", counted(contents.warmup_records, "record")),
    ]


def _keras_rows(contents: KerasInspection, path: Path) -> Rows:
    return [
        *([] if contents.size_bytes is None else [("size", kilobytes(contents.size_bytes))]),
        ("model", printable(contents.name)),
        *[("input", printable(each)) for each in contents.inputs],
        *[("output", printable(each)) for each in contents.outputs],
        ("layers", _counts(contents.layers)),
        ("weights", _sizes(contents.weight_bytes)),
        ("computes in", ", ".join(contents.computes_in)),
    ]


def _export_rows(manifest: Manifest, path: Path) -> Rows:
    rows: Rows = [("export", f"{manifest.name}, {counted(len(manifest.versions), 'version')}")]
    for entry in manifest.versions:
        rows += _version_rows(entry, path)
    return rows


def _version_rows(entry: VersionEntry, path: Path) -> Rows:
    rows = [(f"version {entry.version}", f"{printable(entry.created)}, from {_origin(entry.source)}")]
    for each in entry.artifacts:
        change = each.change(path)
        rows.append((each.kind, f"{each.path} ({kilobytes(each.size_bytes)}){f', {change.upper()}' if change else ''}"))
        if each.validation is not None:
            rows.append(("", _verdict(each.validation)))
    # As they were exported: a .tflite has its batch fixed.
    signatures = {each.name: each for artifact in reversed(entry.artifacts) for each in artifact.signatures}
    return rows + [("signature", str(signature)) for signature in signatures.values()]


def _origin(source: Mapping[str, Any]) -> str:
    """Where a version comes from: `model.keras; input names image, meta`."""
    details = {key: value for key, value in source.items() if value not in (None, [], "")}
    kind = str(details.pop("kind", "an unknown origin"))
    words, named_by = _ORIGINS.get(kind, (kind, ""))
    parts = [f"{words} {details.pop(named_by, '')}".strip()]
    for key, value in details.items():
        parts.append(f"{key.replace('_', ' ')} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return "; ".join(map(printable, parts))


def _verdict(validation: ValidationRecord) -> str:
    """The last validation, with its least SQNR."""
    from attnexport.parity.figures import decibels, worst
    from attnexport.parity.summary import recorded_figures

    figures = worst(each for check in validation.checks if (each := recorded_figures(check)) is not None)
    figure = "" if figures is None else f", {'' if figures.is_equal else 'SQNR '}{decibels(figures.sqnr_db)}"
    runtimes = ", ".join(dict.fromkeys(check.runtime for check in validation.checks))
    verdict = "passed" if validation.passed else "FAILED"
    return f"{verdict} on {validation.data.get('name')} ({runtimes}){figure}, {validation.created}"


_ROWS: Mapping[str, Any] = {
    "tflite": _tflite_rows,
    "saved_model": _saved_model_rows,
    "keras": _keras_rows,
    "export": _export_rows,
}


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{dtype} {kilobytes(size)}" for dtype, size in sorted(sizes.items())) or "none"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{printable(name)} {count}" for name, count in sorted(counts.items())) or "none"
