"""Artifacts on disk by what they are, and Runners over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attnexport.core import ModelError, Runner, TensorSpec
from attnexport.store import ExportDirectory
from attnexport.store.kinds import Kind, kind_of
from attnexport.store.manifest import VersionEntry, read_manifest
from attnexport.store.trust import check_modules


@dataclass(frozen=True)
class ArtifactPath:
    """An artifact on disk.

    Attributes:
        kind: What it is.
        path: The file or directory.
        imports: Modules its layers come from, according to the manifest of its export; empty outside an export.
        inputs: Those of a Keras model that does not know them itself, according to that manifest.
    """

    kind: Kind
    path: Path
    imports: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()


def find_artifact(path: Path) -> ArtifactPath:
    """The artifact at a path.

    Raises:
        ArgumentError: if nothing is there, or a base path of several versions.
        ModelError: if it is none of the kinds.
        ManifestError: if the manifest of its export is damaged.
    """
    kind = kind_of(path)
    # The other kinds hold everything they need.
    entry = _entry_of(path.resolve()) if kind == "keras" else None
    return ArtifactPath(kind, path, entry.imports, entry.declared_inputs) if entry else ArtifactPath(kind, path)


def artifacts_of(export: Path) -> list[ArtifactPath]:
    """The artifacts of an export's newest version, in its manifest's order.

    Raises:
        ArgumentError: if there is no export.
        ModelError: if an artifact is missing.
    """
    entry = ExportDirectory(export).newest()
    kinds: dict[str, Kind] = {"keras": "keras", "saved_model": "saved_model", "tflite": "tflite"}
    artifacts = [
        ArtifactPath(kinds[each.kind], export / each.path, entry.imports, entry.declared_inputs)
        for each in entry.artifacts
        if each.kind in kinds
    ]
    for each in artifacts:
        if not each.path.exists():
            raise ModelError(f"{each.path}, an artifact of version {entry.version}, is gone")
    return artifacts


def open_runner(artifact: ArtifactPath, *, threads: int = 1, imports: tuple[str, ...] = ()) -> Runner:
    """A Runner over an artifact as it is; a Keras model computes in its own precision.

    Args:
        artifact: What to run.
        threads: Threads of the LiteRT interpreter; TensorFlow's are the process's (`bind_threads`).
        imports: Modules that register custom layers, besides those its export names.

    Raises:
        ModelError: if it does not load.
    """
    if artifact.kind == "tflite":
        from attnexport.tflite import open_tflite

        return open_tflite(artifact.path, threads=threads)
    if artifact.kind == "saved_model":
        from attnexport.exporter import SavedModelRunner

        return SavedModelRunner(artifact.path)
    check_modules(artifact.imports, artifact.path, imports)
    return open_keras(artifact.path, (*imports, *artifact.imports), artifact.inputs)


def open_keras(model: object, imports: tuple[str, ...] = (), inputs: tuple[TensorSpec, ...] = ()) -> Runner:
    """A Runner over a Keras model in memory or in a file."""
    from attnexport.exporter import open_model

    return open_model(model, imports=imports, inputs=inputs, classify=False).reference


def bind_threads(threads: int) -> bool:
    """Set TensorFlow's number of threads in this process; False if it has already started with another number."""
    import tensorflow as tf

    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        return bool(threading.get_intra_op_parallelism_threads() == threads)
    return True


def _entry_of(path: Path) -> VersionEntry | None:
    """The version that `keras/VERSION.keras` is the original of; None outside an export."""
    root = path.parent.parent
    manifest = read_manifest(root) if path.parent.name == "keras" else None
    name = path.relative_to(root).as_posix()
    return next((each for each in manifest.versions if each.artifact_at(name)), None) if manifest else None
