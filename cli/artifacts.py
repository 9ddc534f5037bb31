"""Artifacts on disk by what they are, and Runners over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attnexport.core import ModelError, Runner
from attnexport.store import ExportDirectory
from attnexport.store.kinds import Kind, kind_of
from attnexport.store.manifest import read_manifest


@dataclass(frozen=True)
class FoundArtifact:
    """Something that can be looked into or run.

    `imports` are the modules that it needs, as the manifest of its export tells; nothing where it is in none.
    """

    kind: Kind
    path: Path
    imports: tuple[str, ...] = ()


def find_artifact(path: Path) -> FoundArtifact:
    """What is at a path.

    Raises:
        ArgumentError: where there is nothing, or a base path of several versions.
        ModelError: where it is nothing that attnexport knows.
        ManifestError: where the manifest of its export is damaged.
    """
    kind = kind_of(path)
    # The other kinds hold all that they need.
    return FoundArtifact(kind, path, _imports_for(path.resolve()) if kind == "keras" else ())


def artifacts_of(export: Path) -> list[FoundArtifact]:
    """The artifacts of an export's newest version, as its manifest lists them.

    Raises:
        ArgumentError: where it holds no export.
        ModelError: where one is gone.
    """
    entry = ExportDirectory(export).newest()
    kinds: dict[str, Kind] = {"keras": "keras", "saved_model": "saved_model", "tflite": "tflite"}
    found = [
        FoundArtifact(kinds[each.kind], export / each.path, entry.imports)
        for each in entry.artifacts
        if each.kind in kinds
    ]
    for each in found:
        if not each.path.exists():
            raise ModelError(f"{each.path}, an artifact of version {entry.version}, is gone")
    return found


def open_runner(artifact: FoundArtifact, *, threads: int = 1, imports: tuple[str, ...] = ()) -> Runner:
    """A Runner over an artifact as it is: a Keras model in the precision that it has.

    Args:
        artifact: What to run.
        threads: Of the LiteRT interpreter; TensorFlow's are the process's (`bind_threads`).
        imports: Modules that register custom layers, besides those that its export names.

    Raises:
        ModelError: where it does not load.
    """
    if artifact.kind == "tflite":
        from attnexport.tflite import TFLiteRunner

        return TFLiteRunner(artifact.path, threads=threads)
    if artifact.kind == "saved_model":
        from attnexport.exporter import SavedModelRunner

        return SavedModelRunner(artifact.path)
    from attnexport.exporter import open_source
    from attnexport.exporter.originals import keras_runner

    return keras_runner(open_source(artifact.path, (*artifact.imports, *imports)))


def bind_threads(threads: int) -> bool:
    """Give TensorFlow so many threads in this process; False where it has begun with its own number of them."""
    import tensorflow as tf

    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        return bool(threading.get_intra_op_parallelism_threads() == threads)
    return True


def _imports_for(path: Path) -> tuple[str, ...]:
    """What the manifest says that a file needs which is `keras/VERSION.keras` of an export."""
    root = path.parent.parent
    manifest = read_manifest(root)
    name = path.relative_to(root).as_posix()
    entries = [each for each in manifest.versions if each.artifact_at(name)] if manifest else []
    return entries[0].imports if entries else ()
