"""Every parser of bytes from outside, with what it reads and how it refuses."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_EXPORT = Path(__file__).parent / "store" / "exports" / "0.1.0" / "small"


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        seeds: What it reads.
        read: Reads bytes.
        refuses: How it refuses them; another exception is a fault.
    """

    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]


def targets() -> dict[str, Callable[[], Target]]:
    """The parsers by name, each made when it is needed."""
    return {
        "codec": _codec,
        "rest": _rest,
        "config": _config,
        "manifest": _manifest,
        "recipe": _recipe,
        "search": _search,
        "journal": _journal,
        "flatbuffer": _flatbuffer,
        "warmup": _warmup,
        "saved-model": _saved_model,
        "samples": _samples,
        "replies": _replies,
    }


def _codec() -> Target:
    import numpy as np

    from attnexport.core import CodecError
    from attnexport.serving import codec

    model = codec.ServedModel("m", version=3)
    arrays = {"x": np.ones((2, 3), np.float32), "s": np.array([b"a", b"bc"], object), "i": np.arange(3)}
    seeds = [codec.encode_predict_request(model, arrays, ["y"], form) for form in ("content", "values")]
    seeds += [codec.encode_predict_reply(model, arrays, form) for form in ("content", "values")]

    def read(data: bytes) -> None:
        for decode in (codec.decode_predict_request, codec.decode_predict_reply, codec.decode_tensor):
            try:
                decode(data)
            except CodecError:
                continue

    return Target(seeds, read, ())


def _rest() -> Target:
    from attnexport.core import Signature, TensorSpec
    from attnexport.core.errors import AttnexportError
    from attnexport.serving.messages import ClassificationRequest
    from attnexport.serving.server.rest_examples import fill_examples
    from attnexport.serving.server.rest_inputs import read_inputs
    from attnexport.serving.server.rest_json import parse

    dtypes = ("float32", "int64", "string", "bool", "uint8", "float16")
    specs = tuple(TensorSpec(f"in_{dtype}", dtype, None) for dtype in dtypes)
    many, one = Signature("m", specs, specs[:1]), Signature("o", specs[:1], specs[:1])
    seeds = [
        b'{"signature_name": "m", "inputs": [[1.0, 2e3], [NaN, -Infinity]]}',
        b'{"instances": [{"in_float32": 1, "in_int64": 2, "in_string": {"b64": "YQ=="}, "in_bool": true, '
        b'"in_uint8": 3, "in_float16": 1.5}]}',
        b'{"examples": [{"x": [1.0, 2.0], "s": "\\u00e4\\ud83d\\ude00", "t": {"b64": "YQ=="}}], "context": {"c": 1}}',
        '{"inputs": {"in_string": ["ünï"], "in_string": "b"}} rest'.encode(),
    ]

    def read(data: bytes) -> None:
        document = parse(data)
        for signature in (many, one):
            try:
                read_inputs(document, signature)
            except AttnexportError:
                continue
        fill_examples(document, ClassificationRequest().input)

    def whole(data: bytes) -> None:
        try:
            read(data)
        except AttnexportError:
            return

    return Target(seeds, whole, ())


def _config() -> Target:
    from attnexport.core import ContentError
    from attnexport.serving.messages import POOL, ModelServerConfig
    from attnexport.serving.server import StatusError
    from attnexport.serving.server.configuration import configs_from_message
    from attnexport.serving.server.text_config import read_text

    seed = b"""model_config_list { config { name: 'm' base_path: '/m' model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: 'a' value: 1 } } } # c"""
    return Target(
        [seed], _of_file(lambda path: configs_from_message(read_text(path, ModelServerConfig, POOL))),
        (ContentError, StatusError),
    )  # fmt: skip


def _manifest() -> Target:
    from attnexport.core import ContentError
    from attnexport.store.manifest import FILE_NAME, read_manifest

    document = json.loads((_EXPORT / FILE_NAME).read_text())
    for artifact in document["versions"][0]["artifacts"]:  # a small one has room for more changes
        artifact["signatures"] = artifact["signatures"][:1]
    seeds = [(_EXPORT / FILE_NAME).read_bytes(), json.dumps(document).encode()]
    return Target(seeds, _of_file(lambda path: read_manifest(path.parent), FILE_NAME), (ContentError,))


def _recipe() -> Target:
    from attnexport.core import ContentError
    from attnexport.tflite import load_recipe

    seed = (_EXPORT / "recipes" / "1" / "auto.json").read_bytes()
    return Target([seed], _of_file(load_recipe), (ContentError,))


def _search() -> Target:
    from attnexport.core import ContentError
    from attnexport.tflite.search.result import read_candidates

    seed = (_EXPORT / "recipes" / "1" / "auto.search.json").read_bytes()
    return Target([seed], _of_file(read_candidates), (ContentError,))


def _journal() -> Target:
    from attnexport.core import ContentError
    from attnexport.core.documents import convert, parse_json
    from attnexport.store.journal import JournalDocument

    seed = (
        b'{"version": 1, "artifacts": [["keras", "keras/1.keras"]], '
        b'"names": {"keras/1.keras": {"staged": "s0", "backup": null}}}'
    )
    return Target([seed], lambda data: convert(parse_json(data, "j"), JournalDocument, "j"), (ContentError,))


def _flatbuffer() -> Target:
    from attnexport.core import ModelError
    from attnexport.tflite.graph import read_graph

    seeds = [path.read_bytes() for path in sorted((_EXPORT / "tflite" / "1").iterdir())]
    return Target(seeds, read_graph, (ModelError,))


def _warmup() -> Target:
    from google.protobuf.message import DecodeError

    from attnexport.core import ModelError
    from attnexport.exporter.warmup import read_record, read_records

    seeds = list(read_records(_EXPORT / "saved_model" / "1"))
    return Target(seeds, read_record, (DecodeError, ValueError, TypeError, ModelError))


def _saved_model() -> Target:
    from google.protobuf.message import DecodeError

    from attnexport.core import ContentError
    from attnexport.exporter.programs.checking import refusals
    from attnexport.exporter.programs.reading import parse_saved_model
    from tests.exporter.programs import TABLE, fill, function, node, program, text

    small = program(
        TABLE, text("f", "a"), fill("init", "f"), node("call", "PartitionedCall", "x", f="g"),
        functions=[function("g", node("i", "Identity", "a"), arguments=["a"])], main="init", assets={"f": "a"},
    )  # fmt: skip
    seeds = [small.SerializeToString(), (_EXPORT / "saved_model" / "1" / "saved_model.pb").read_bytes()]
    return Target(seeds, lambda data: refusals(parse_saved_model(data), Path("nowhere")), (DecodeError, ContentError))


def _samples() -> Target:
    import io

    import numpy as np

    from attnexport.core import ContentError
    from attnexport.core.samples import read_arrays

    npy, npz, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, np.ones((2, 3), np.float32))
    np.savez(npz, x=np.ones(3, np.int8), y=np.array(["a"]))
    np.savez_compressed(packed, x=np.ones(3))
    as_npy, as_npz = (_of_file(read_arrays, name) for name in ("a.npy", "a.npz"))

    def both(data: bytes) -> None:
        (as_npz if data.startswith(b"PK") else as_npy)(data)

    return Target([npy.getvalue(), npz.getvalue(), packed.getvalue()], both, (ContentError,))


def _replies() -> Target:
    from attnexport.core import Signature, TensorSpec
    from attnexport.core.errors import AttnexportError
    from attnexport.serving.client.responses import parse, read_metadata, read_status
    from attnexport.serving.messages import GetModelMetadataResponse, GetModelStatusResponse, SignatureDefMap
    from attnexport.serving.server.loading import signature_definitions

    spec = TensorSpec("x", "float32", (None, 3))
    definitions = SignatureDefMap.FromString(signature_definitions({"s": Signature("s", (spec,), (spec,))}))
    metadata, status = GetModelMetadataResponse(), GetModelStatusResponse()
    metadata.model_spec.name = "m"
    metadata.metadata["signature_def"].Pack(definitions)
    status.model_version_status.add(version=3, state=30).status.error_message = "why"

    def read(data: bytes) -> None:
        try:
            read_status(parse(GetModelStatusResponse, data, "here"))
            read_metadata(parse(GetModelMetadataResponse, data, "here"), "here")
        except AttnexportError:
            return

    return Target([metadata.SerializeToString(), status.SerializeToString()], read, ())


_folders: list[tempfile.TemporaryDirectory[str]] = []  # which live as long as the process


def _of_file(read: Callable[[Path], object], name: str = "input") -> Callable[[bytes], object]:
    """A reader of bytes from a reader of a file."""
    _folders.append(tempfile.TemporaryDirectory(prefix="attnexport-fuzz-"))
    path = Path(_folders[-1].name) / name

    def from_bytes(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return from_bytes
