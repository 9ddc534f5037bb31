"""What a .tflite says of itself, and the code that runs it: read back by others than its writer."""

from __future__ import annotations

import functools
import http.server
import io
import os
import shutil
import struct
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.core.errors import ArgumentError
from attnexport.tflite.flatbuffer_edit import with_metadata_buffers
from attnexport.tflite.graph import parse_model, read_graph
from attnexport.tflite.metadata import ModelMetadata, add_metadata, labelled_output, read_metadata
from attnexport.tflite.runner import TFLiteRunner
from attnexport.tflite.snippets import LANGUAGES, write_snippet
from tests.browser import Browser

FILE = Path(__file__).parents[1] / "store/exports/0.1.0/small/tflite/1/small.int8.tflite"
LABELS = ("cat", 'a "dog"', "bird é", "x$y\\z")


@pytest.fixture(scope="module")
def plain() -> bytes:
    return FILE.read_bytes()


@pytest.fixture(scope="module")
def labels(plain: bytes) -> tuple[str, ...]:
    """As many as the output has classes."""
    size = next(iter(TFLiteRunner(plain).signatures["serving_default"].outputs)).shape[-1]  # type: ignore[index]
    return tuple(LABELS[number] if number < len(LABELS) else f"class {number}" for number in range(size))


@pytest.fixture(scope="module")
def described(plain: bytes, labels: tuple[str, ...]) -> bytes:
    return add_metadata(plain, ModelMetadata("small", 3, "int8", labels))


def run(content: bytes) -> dict[str, Any]:
    runner = TFLiteRunner(content)
    spec = runner.signatures["serving_default"].inputs[0]
    x = np.random.default_rng(0).standard_normal(spec.shape or ()).astype(np.float32)
    return dict(runner.run({spec.name: x}))


def test_the_model_itself_does_not_change(plain: bytes, described: bytes) -> None:
    before, after = run(plain), run(described)
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    old, new = parse_model(plain), parse_model(described)
    assert len(new.buffers) == len(old.buffers) + 1
    assert [bytes(each.data) for each in old.buffers if each.data is not None] == [
        bytes(each.data) for each in new.buffers[:-1] if each.data is not None
    ]
    assert read_graph(plain).min_runtime_version == read_graph(described).min_runtime_version is not None
    assert plain[8:] in described, "every byte behind the head stands as it stood"


def test_constants_keep_their_alignment(plain: bytes, described: bytes) -> None:
    for each in parse_model(plain).buffers:
        if each.data is not None and len(each.data) >= 16:
            data = bytes(each.data)
            assert plain.index(data) % 16 == described.index(data) % 16


def test_it_is_tflites_own_metadata(described: bytes, labels: tuple[str, ...]) -> None:
    """Read by the schema's slots, with flatbuffers' own reader."""
    import flatbuffers
    from flatbuffers import number_types as kinds

    model = parse_model(described)
    [entry] = [each for each in model.metadata if each.name == b"TFLITE_METADATA"]
    data = bytes(model.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"

    def table(position: int) -> Any:
        return flatbuffers.table.Table(data, position)

    def follow(of: Any, slot: int) -> int:
        offset = of.Offset(4 + 2 * slot)
        return of.Indirect(of.Pos + offset) if offset else 0

    def text(of: Any, slot: int) -> str:
        return str(of.String(of.Pos + of.Offset(4 + 2 * slot)), "utf-8")

    def first(of: Any, slot: int) -> Any:
        vector = of.Vector(of.Offset(4 + 2 * slot))
        return table(of.Indirect(vector))

    root = table(struct.unpack_from("<I", data)[0])
    assert (text(root, 0), text(root, 2), text(root, 7)) == ("small", "3", "1.0.0")
    subgraph = first(root, 3)
    runner = TFLiteRunner(described)
    signature = runner.signatures["serving_default"]
    assert text(first(subgraph, 2), 0) == signature.inputs[0].name
    output = first(subgraph, 3)
    assert text(output, 0) == signature.outputs[0].name
    labels_file = first(output, 6)
    assert text(labels_file, 0) == "labels.txt"
    assert labels_file.Get(kinds.Int8Flags, labels_file.Pos + labels_file.Offset(8)) == 2, "labels of an axis"
    assert follow(root, 3)


def test_any_unzip_reads_labels_and_the_document(described: bytes, labels: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(described)
    with zipfile.ZipFile(io.BytesIO(described)) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().splitlines() == list(labels)
    if shutil.which("unzip"):
        done = subprocess.run(["unzip", "-p", "m.tflite", "labels.txt"], cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode().splitlines() == list(labels)


def test_what_was_written_is_read_back_and_the_same_makes_the_same_bytes(
    plain: bytes, described: bytes, labels: tuple[str, ...]
) -> None:
    wanted = ModelMetadata("small", 3, "int8", labels)
    assert read_metadata(described) == wanted
    assert add_metadata(plain, wanted) == described
    for other in (plain, described[:-30], plain + b"PK\5\6" + bytes(18), b""):
        assert read_metadata(other) is None


def test_an_archive_with_impossible_values_or_damaged_bytes_is_that_of_another_maker() -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("attnexport.json", '{"name": "m", "version": Infinity, "recipe": "int8", "labels": []}')
    whole = bytearray(written.getvalue())
    assert read_metadata(bytes(whole)) is None
    whole[50] ^= 0xFF  # in the compressed bytes
    assert read_metadata(bytes(whole)) is None


def test_a_buffer_of_the_same_name_takes_the_place_of_the_first(plain: bytes) -> None:
    once = with_metadata_buffers(plain, {"mine": b"one", "other": b"kept"})
    assert once is not None
    twice = with_metadata_buffers(once, {"mine": b"two"})
    assert twice is not None
    model = parse_model(twice)
    found = {each.name: bytes(model.buffers[each.buffer].data) for each in model.metadata}
    assert (found[b"mine"], found[b"other"]) == (b"two", b"kept")
    assert run(twice).keys() == run(plain).keys()


def test_labels_belong_to_the_only_output_of_their_size(plain: bytes) -> None:
    signature = TFLiteRunner(plain).signatures["serving_default"]
    assert labelled_output(signature, ()) is None
    assert labelled_output(signature, ["a"] * 977) is None


def test_the_python_lines_run(described: bytes, labels: tuple[str, ...], tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "small.tflite").write_bytes(described)
    text = write_snippet(described, "python", str(tmp_path / "small.tflite"))
    exec(compile(text, "snippet", "exec"), {"__name__": "__main__"})
    assert capfd.readouterr().out.rstrip().splitlines()[-1] in labels


# The prototypes of LiteRT's C API that the lines use, as its c_api.h declares them.
C_API = """
#include <stddef.h>
typedef struct TfLiteModel TfLiteModel; typedef struct TfLiteInterpreterOptions TfLiteInterpreterOptions;
typedef struct TfLiteInterpreter TfLiteInterpreter; typedef struct TfLiteSignatureRunner TfLiteSignatureRunner;
typedef struct TfLiteTensor TfLiteTensor; typedef enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;
TfLiteModel* TfLiteModelCreateFromFile(const char* model_path);
TfLiteInterpreterOptions* TfLiteInterpreterOptionsCreate(void);
TfLiteInterpreter* TfLiteInterpreterCreate(const TfLiteModel* model, const TfLiteInterpreterOptions* options);
TfLiteSignatureRunner* TfLiteInterpreterGetSignatureRunner(const TfLiteInterpreter* interpreter, const char* key);
TfLiteStatus TfLiteSignatureRunnerAllocateTensors(TfLiteSignatureRunner* runner);
TfLiteTensor* TfLiteSignatureRunnerGetInputTensor(TfLiteSignatureRunner* runner, const char* name);
const TfLiteTensor* TfLiteSignatureRunnerGetOutputTensor(const TfLiteSignatureRunner* runner, const char* name);
TfLiteStatus TfLiteSignatureRunnerInvoke(TfLiteSignatureRunner* runner);
TfLiteStatus TfLiteTensorCopyFromBuffer(TfLiteTensor* tensor, const void* data, size_t size);
TfLiteStatus TfLiteTensorCopyToBuffer(const TfLiteTensor* tensor, void* data, size_t size);
void TfLiteSignatureRunnerDelete(TfLiteSignatureRunner* runner); void TfLiteInterpreterDelete(TfLiteInterpreter* i);
void TfLiteInterpreterOptionsDelete(TfLiteInterpreterOptions* options); void TfLiteModelDelete(TfLiteModel* model);
"""


def test_the_c_lines_compile_without_a_warning(described: bytes, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    header = tmp_path / "tensorflow/lite/c/c_api.h"
    header.parent.mkdir(parents=True)
    header.write_text(C_API)
    (tmp_path / "ask.c").write_text(write_snippet(described, "c", "small.tflite"))
    words = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", ".", "ask.c"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# What the Kotlin lines use of Android and of LiteRT, as their documentation declares it.
JAVA = {
    "android/content/Context.java": """package android.content;
public class Context {
  public static class Assets {
    public java.io.InputStream open(String name) throws java.io.IOException { return null; }
  }
  public Assets getAssets() { return null; }
}
""",
    "org/tensorflow/lite/Interpreter.java": """package org.tensorflow.lite;
public class Interpreter implements AutoCloseable {
  public Interpreter(java.nio.ByteBuffer model) {}
  public void runSignature(
      java.util.Map<String, Object> inputs, java.util.Map<String, Object> outputs, String signature) {}
  public void close() {}
}
""",
}


@pytest.mark.slow
def test_the_kotlin_lines_compile(described: bytes, tmp_path: Path) -> None:
    """By a compiler that needs half a minute, so only where it is named; `make snippets` does."""
    compiler = os.environ.get("ATTNEXPORT_KOTLINC")
    if compiler is None:
        pytest.skip("ATTNEXPORT_KOTLINC names no Kotlin compiler")
    for name, text in JAVA.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["javac", "-d", "classes", *JAVA], cwd=tmp_path, check=True)
    (tmp_path / "Ask.kt").write_text(write_snippet(described, "kotlin", "small.tflite"), encoding="utf-8")
    words = [compiler, "-cp", "classes", "-d", "out", "Ask.kt"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "warning: " in done.stderr.replace("VM warning", "")) == (0, False), done.stderr


def test_kotlin_and_swift_say_that_they_were_not_run(described: bytes) -> None:
    assert "have not been run" in write_snippet(described, "kotlin", "small.tflite")
    assert "have not been compiled or run" in write_snippet(described, "swift", "small.tflite")
    with pytest.raises(ArgumentError, match="there is no language 'rust'"):
        write_snippet(described, "rust", "small.tflite")
    assert LANGUAGES == ("python", "javascript", "kotlin", "swift", "c")


@pytest.fixture
def site(tmp_path: Path, described: bytes) -> Iterator[str]:
    """A web server of LiteRT.js and the model."""
    package = os.environ.get("ATTNEXPORT_LITERTJS")
    if package is None:
        pytest.skip("ATTNEXPORT_LITERTJS names no folder of @litertjs/core with its dependency beside it")
    shutil.copytree(Path(package) / "wasm", tmp_path / "wasm")
    shutil.copytree(Path(package).parent, tmp_path / "packages")
    (tmp_path / "small.tflite").write_bytes(described)
    (tmp_path / "ask.js").write_text(write_snippet(described, "javascript", "small.tflite"))
    imports = {
        "@litertjs/core": "/packages/core/dist/index.js",
        "@litertjs/wasm-utils": "/packages/wasm-utils/dist/index.js",
    }
    (tmp_path / "index.html").write_text(
        f'<script type="importmap">{{"imports": {str(imports).replace(chr(39), chr(34))}}}</script>'
        "<script>window.said = []; console.log = (...each) => window.said.push(each.map(String).join(' '));</script>"
        "<script type=module>"
        'import("/ask.js").then(() => window.ended = "ok", (error) => window.ended = error.stack)</script>'
    )
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}  # noqa: RUF012

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def test_the_javascript_lines_run_in_a_browser(site: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        page = browser.open(site, 800)
        ended = """new Promise((done) => {
            const look = () => window.ended ? done(window.ended) : setTimeout(look, 50);
            look();
        })"""
        assert page.evaluate(ended) == "ok"
        assert page.evaluate("window.said.at(-1)") in labels
