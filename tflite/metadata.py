"""What a .tflite says of itself: the model's name and version, its tensors, and the names of its classes.

It is written twice. As TFLite's own metadata (the buffer `TFLITE_METADATA`, a flatbuffer `M001`), which Android Studio
and the MediaPipe and LiteRT task libraries read; and as files of a ZIP archive behind the model, which those libraries
look for the labels in, and any shell: `unzip -p model.tflite attnexport.json`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from attnexport.core.signature import DEFAULT_SIGNATURE, Signature

from .flatbuffer_edit import with_metadata_buffers
from .graph import Graph, read_graph

LABELS_FILE, DOCUMENT_FILE = "labels.txt", "attnexport.json"
_BUFFER, _IDENTIFIER, _MIN_PARSER = "TFLITE_METADATA", b"M001", "1.0.0"
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_OLDEST = (1980, 1, 1, 0, 0, 0)  # a ZIP's first moment: the same content makes the same bytes
_MAX_ARCHIVE = 1 << 24  # bytes of one of its files that are read


@dataclass(frozen=True)
class ModelMetadata:
    """What travels with a model.

    Attributes:
        name: The model's name.
        version: Its version in the export.
        recipe: The recipe it was quantized by.
        labels: Names of its classes, in the order of its scores; empty if it has none.
    """

    name: str
    version: int
    recipe: str = "float32"
    labels: tuple[str, ...] = ()


def add_metadata(content: bytes, metadata: ModelMetadata, graph: Graph | None = None) -> bytes:
    """Write what a model says of itself into its .tflite; the model itself does not change by a byte.

    Args:
        content: The file.
        metadata: What to write.
        graph: The file's contents, if they were read.

    Returns:
        The new file; the old one if it is larger than 2 GB.

    Raises:
        ModelError: if it is not a .tflite, or is damaged.
    """
    graph = read_graph(content) if graph is None else graph
    if not graph.signatures:
        return content
    first = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in graph.signatures else next(iter(graph.signatures))
    signature = graph.signature(first)
    labelled = labelled_output(signature, metadata.labels)
    written = with_metadata_buffers(content, {_BUFFER: _flatbuffer(metadata, signature, labelled)})
    if written is None:
        return content
    document = {**asdict(metadata), "signature": _tensors(signature)}
    files = {DOCUMENT_FILE: json.dumps(document, indent=1, ensure_ascii=False) + "\n"}
    if labelled is not None:
        files[LABELS_FILE] = "".join(f"{label}\n" for label in metadata.labels)
    return _with_archive(written, files)


def read_metadata(content: bytes) -> ModelMetadata | None:
    """What a .tflite says of itself; None if attnexport wrote nothing into it, or it was changed since.

    Example:
        >>> read_metadata(b"no archive in here")
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(DOCUMENT_FILE) as file:
            document = json.loads(file.read(_MAX_ARCHIVE))
        labels = document["labels"] if isinstance(document["labels"], list) else []
        return ModelMetadata(
            str(document["name"]), int(document["version"]), str(document["recipe"]), tuple(map(str, labels))
        )
    except Exception:  # zipfile raises whatever its parts raise, and the values may be any
        return None  # a file of another maker, or one that was cut


def labelled_output(signature: Signature, labels: Sequence[str]) -> str | None:
    """The output whose last axis the labels name: the only one of that size; None if there is none, or several."""
    fit = [spec.name for spec in signature.outputs if labels and spec.shape and spec.shape[-1] == len(labels)]
    return fit[0] if len(fit) == 1 else None


def _tensors(signature: Signature) -> dict[str, Any]:
    parts = {"inputs": signature.inputs, "outputs": signature.outputs}
    return {
        "name": signature.name,
        **{part: [{"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape or ())} for spec in specs]
           for part, specs in parts.items()},
    }  # fmt: skip


def _with_archive(content: bytes, files: Mapping[str, str]) -> bytes:
    """The content with a ZIP archive behind it, whose offsets count from the start of the file, as `unzip` likes it."""
    target = io.BytesIO(content)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return target.getvalue()


def _flatbuffer(metadata: ModelMetadata, signature: Signature, labelled: str | None) -> bytes:
    """A ModelMetadata of TFLite's metadata schema; slots are numbered as its tables list their fields."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)

    def table(slots: Mapping[int, Any], size: int) -> int:
        builder.StartObject(size)
        for slot, value in slots.items():
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return int(builder.EndObject())

    def vector(offsets: Sequence[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for each in reversed(offsets):
            builder.PrependUOffsetTRelative(each)
        return int(builder.EndVector())

    def labels_file() -> int:
        name, description = builder.CreateString(LABELS_FILE), builder.CreateString("Names of the classes.")
        builder.StartObject(5)
        builder.PrependUOffsetTRelativeSlot(0, name, 0)
        builder.PrependUOffsetTRelativeSlot(1, description, 0)
        builder.PrependInt8Slot(2, _AXIS_LABELS, 0)
        return int(builder.EndObject())

    def tensor(spec: Any) -> int:
        name, description = builder.CreateString(spec.name), builder.CreateString(str(spec))
        slots = {0: name, 1: description}
        if spec.name == labelled:
            slots[6] = vector([labels_file()])
        return table(slots, 7)

    inputs = vector([tensor(spec) for spec in signature.inputs])
    outputs = vector([tensor(spec) for spec in signature.outputs])
    subgraph = vector([table({0: builder.CreateString(signature.name), 2: inputs, 3: outputs}, 5)])
    slots = {
        0: builder.CreateString(metadata.name),
        1: builder.CreateString(f"{metadata.recipe}, made by attnexport"),
        2: builder.CreateString(str(metadata.version)),
        3: subgraph,
        7: builder.CreateString(_MIN_PARSER),
    }
    builder.Finish(table(slots, 8), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())
