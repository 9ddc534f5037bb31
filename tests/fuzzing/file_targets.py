"""Parsers of what is in an export: its documents, graphs and records, and samples."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

from .target import Target, folder, of_file

_EXPORT = Path(__file__).parents[1] / "store" / "exports" / "0.1.0" / "small"


def damaged(file: io.BytesIO, chance: float) -> bytes:
    """The content of a file, one in ten times with a bit changed."""
    content = bytearray(file.getvalue())
    if chance % 0.1 > 0.09:
        content[int(chance * 1e7) % len(content)] ^= 1 << int(chance * 1e8) % 8
    return bytes(content)


def manifest() -> Target:
    from attnexport.core import ContentError
    from attnexport.store.manifest import FILE_NAME, read_manifest

    document = json.loads((_EXPORT / FILE_NAME).read_text())
    for artifact in document["versions"][0]["artifacts"]:  # a small one has room for more changes
        artifact["signatures"] = artifact["signatures"][:1]
    small = json.dumps(document).encode()
    document["versions"][0]["artifacts"] = document["versions"][0]["artifacts"][-1:]
    seeds = [json.dumps(document).encode(), small]
    return Target(seeds, [of_file(lambda path: read_manifest(path.parent), FILE_NAME)], (ContentError,), "text")


def recipe() -> Target:
    from attnexport.core import ContentError
    from attnexport.tflite import load_recipe

    seeds = [
        (_EXPORT / "recipes" / "1" / "auto.json").read_bytes(),
        b'{"weights": "int8", "activations": "int8", "keep_float": ["SOFTMAX"], "layers": [{"tensors": "a.*", '
        b'"weights": "int4"}], "min_sqnr_db": 20.5}',
    ]
    return Target(seeds, [of_file(load_recipe)], (ContentError,), "text")


def search() -> Target:
    from attnexport.core import ContentError
    from attnexport.tflite.search.result import read_candidates

    seed = (_EXPORT / "recipes" / "1" / "auto.search.json").read_bytes()
    return Target([seed], [of_file(read_candidates)], (ContentError,), "text")


def journal() -> Target:
    """A journal, carried out if it is one; nothing outside the export may change."""
    from attnexport.core.errors import StorageError
    from attnexport.store.journal import Journal
    from attnexport.store.manifest import Manifest

    outside = folder()
    home, root = outside / "home", outside / "export"
    home.mkdir()
    (home / "mine").write_text("mine")
    temporary = root / ".tmp-x"

    def carry_out(data: bytes) -> None:
        if not temporary.exists():
            temporary.mkdir(parents=True)
            (temporary / "old-0").write_text("theirs")
        (temporary / "commit.json").write_bytes(data)
        undone = Journal(root, temporary)
        manifest = Manifest("m")
        undone.check(manifest)
        if not undone.is_committed(manifest):
            undone.undo()
        assert sorted(os.listdir(outside)) == ["export", "home"]
        assert os.listdir(home) == ["mine"]
        assert (home / "mine").read_text() == "mine"
        if not (temporary / "old-0").exists():
            shutil.rmtree(root)

    seeds = [
        b'{"version": 1, "artifacts": [["keras/1.keras", "sha256:0"]], '
        b'"names": {"keras/1.keras": {"staged": "s0", "backup": null}, "tflite/1/m.int8.tflite": {"staged": "s1", '
        b'"backup": "old-0"}}}',
    ]
    return Target(seeds, [carry_out], (StorageError,), "text")


def digest() -> Target:
    from attnexport.core.errors import ContentError, GateError
    from attnexport.store.digest import check_digest, version_digest
    from attnexport.store.manifest import VersionEntry

    entry = VersionEntry(1, "2026-01-01T00:00:00+00:00", {"kind": "preset"}, {}, "Keras", ())
    seed = version_digest(Path("export/m"), entry).encode()

    def read(path: Path) -> None:
        with contextlib.suppress(GateError):  # it was read, and is of another version
            check_digest(Path("export/m"), entry, path)

    return Target([seed], [of_file(read)], (ContentError,), "text")


def flatbuffer() -> Target:
    from attnexport.core import ModelError
    from attnexport.tflite.graph import read_graph

    seeds = [path.read_bytes() for path in sorted((_EXPORT / "tflite" / "1").iterdir())]
    return Target(seeds, [read_graph], (ModelError,))


def keras() -> Target:
    """The parts of a .keras file that are read before Keras has it, and the archive behind a .tflite."""
    from attnexport.core import ContentError
    from attnexport.exporter.models.keras_file import _read_config
    from attnexport.tflite.metadata import read_metadata

    with zipfile.ZipFile(_EXPORT / "keras" / "1.keras") as archive:
        parts = {name: archive.read(name) for name in ("metadata.json", "config.json")}
    parts["attnexport.json"] = b'{"name": "m", "version": 1, "recipe": "int8", "labels": ["a"]}'

    def packed(data: bytes, chance: float) -> bytes:
        """An archive with it in place of one part, and sometimes a wrong byte."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if chance > 0.5 else zipfile.ZIP_STORED) as archive:
            for name, content in {**parts, list(parts)[int(chance * 1e3) % 3]: data}.items():
                archive.writestr(name, content)
        return damaged(file, chance)

    def describes(data: bytes) -> None:
        if read_metadata(data) is None:
            raise ContentError("no metadata")

    return Target(list(parts.values()), [of_file(_read_config, "m.keras"), describes], (ContentError,), "text", packed)


def warmup() -> Target:
    from google.protobuf.message import DecodeError

    from attnexport.exporter.warmup import read_record, read_records

    seeds = list(read_records(_EXPORT / "saved_model" / "1"))
    return Target(seeds, [read_record], (DecodeError, ValueError, TypeError), "protobuf")


def saved_model() -> Target:
    from google.protobuf.message import DecodeError

    from attnexport.core import ContentError
    from attnexport.exporter.programs.checking import refusals
    from attnexport.exporter.programs.reading import parse_saved_model
    from tests.exporter.programs import TABLE, fill, function, node, program, text

    small = program(
        TABLE, text("f", "a"), fill("init", "f"), node("call", "PartitionedCall", "x", f="g"),
        functions=[function("g", node("i", "Identity", "a"), arguments=["a"])], main="init", assets={"f": "a"},
    )  # fmt: skip

    def read(data: bytes) -> None:
        if reasons := refusals(parse_saved_model(data), Path("nowhere")):
            raise ContentError("; ".join(reasons))

    return Target([small.SerializeToString()], [read], (DecodeError, ContentError), "protobuf")


def samples() -> Target:
    import numpy as np

    from attnexport.core import ContentError
    from attnexport.core.samples import read_arrays

    arrays = (np.ones((2, 3), np.float32), np.array(["a"]), np.zeros((), "<M8[D]"), np.ones(3, np.int8))
    seeds = []
    for array in arrays:
        file = io.BytesIO()
        np.save(file, array)
        seeds.append(file.getvalue())
    names = ("x", "y", "", "../x", "file", "labels", "/x", "x" * 300)

    def packed(data: bytes, chance: float) -> bytes:
        """An .npz of it, or itself."""
        if chance < 0.5:
            return data
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if chance > 0.8 else zipfile.ZIP_STORED) as archive:
            archive.writestr(f"{names[int(chance * 8e4) % 8]}.npy", data)
            archive.writestr("y.npy", seeds[int(chance * 1e6) % len(seeds)])
        return damaged(file, chance)

    as_npy, as_npz = (of_file(read_arrays, name) for name in ("a.npy", "a.npz"))
    either = (lambda data: (as_npz if data.startswith(b"PK") else as_npy)(data),)
    return Target(seeds, either, (ContentError,), "text", packed)
