"""Hostile names in a .tflite: through the commands that read one, the programs written for it, and a report."""

from __future__ import annotations

import ast
import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from attnexport.store.files import hash_of
from attnexport.tflite.graph import parse_model
from attnexport.tflite.metadata import ModelMetadata, add_metadata
from attnexport.tflite.snippets import LANGUAGES, write_snippet
from attnexport.tflite.snippets.quoting import QUOTED, comment
from tests.hostile import NAMES, check_printed
from tests.test_hostile_names import check_page

Run = Callable[..., tuple[int, str, str]]
EXPORT = Path(__file__).parent / "store" / "exports" / "0.1.0" / "small"
FILES = ("tflite/1/small.int8.tflite", "tflite/1/small.auto.tflite")


def write_named(path: Path, *, default: bool) -> None:
    """Write a .tflite whose tensors, signatures, labels and description have hostile names."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = parse_model((EXPORT / FILES[0]).read_bytes())
    for subgraph in model.subgraphs:
        subgraph.name = NAMES[3].encode()
        for at, tensor in enumerate(subgraph.tensors):
            tensor.name = NAMES[at % len(NAMES)].encode()
    [first] = [each for each in model.signatureDefs if each.signatureKey == b"serving_default"]
    model.signatureDefs = [first] if default else []
    for name in NAMES:
        signature = copy.deepcopy(first)
        signature.signatureKey = signature.inputs[0].name = signature.outputs[0].name = name.encode()
        model.signatureDefs.append(signature)
    model.description = "".join(NAMES).encode()
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    path.write_bytes(add_metadata(content, ModelMetadata("".join(NAMES), 1, NAMES[0], NAMES[:2])))


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "named.tflite"
    write_named(path, default=False)
    return path


def printed(attnexport: Run, *words: str | Path) -> str:
    """What a command prints, and its JSON, checked."""
    text = ""
    for more in ((), ("--json",)):
        code, out, err = attnexport(*words, *more)
        assert code != 1, err
        check_printed(out + err)
        text += out + err
    json.loads(out)
    return text


def test_commands_show_the_names_as_text(attnexport: Run, named: Path) -> None:
    assert r"red\x1b[31m" in printed(attnexport, "inspect", named)
    for language in LANGUAGES:
        assert r"\x1b[2J" in printed(attnexport, "inspect", named, "--snippet", language)


def test_a_program_holds_each_name_as_a_string_and_in_one_line(named: Path) -> None:
    content = named.read_bytes()
    for language in LANGUAGES:
        text = write_snippet(content, language, "named.tflite")
        check_printed(text)
        assert QUOTED[language](min(NAMES)) in text
    tree = ast.parse(write_snippet(content, "python", "named.tflite"))
    strings = {each.value for each in ast.walk(tree) if isinstance(each, ast.Constant)}
    assert min(NAMES) in strings


@pytest.mark.parametrize("name", [*NAMES, "*/ int x; /*", '"+evil+"', "\\", "\\(evil)", "${evil}", "\u2029", "😀"])
def test_a_quoted_name_is_that_name(name: str) -> None:
    assert ast.literal_eval(QUOTED["python"](name)) == name
    assert json.loads(QUOTED["javascript"](name)) == name
    assert not re.search(r"(?<!\\)(\\\\)*\$", kotlin := QUOTED["kotlin"](name))
    assert json.loads(kotlin.replace(r"\$", "$")) == name
    swift = re.sub(r"\\u\{(\w+)\}", lambda match: json.dumps(chr(int(match[1], 16)))[1:-1], QUOTED["swift"](name))
    assert json.loads(swift) == name
    assert ast.literal_eval("b" + QUOTED["c"](name)).decode() == name
    assert "*/" not in comment(name)
    assert len(comment(name).splitlines()) <= 1


@pytest.mark.slow
def test_the_report_of_an_export_with_such_files(attnexport: Run, tmp_path: Path) -> None:
    """It is validated live; the manifest says of the names what the files say, with `serving_default` and without."""
    root = tmp_path / "small"
    shutil.copytree(EXPORT, root)
    manifest = json.loads((root / "attnexport.json").read_text())
    for default, file in enumerate(FILES):
        write_named(root / file, default=bool(default))
        [artifact] = [each for each in manifest["versions"][0]["artifacts"] if each["path"] == file]
        artifact["content_hash"] = artifact["file_hash"] = hash_of(root / file)
        [first] = [each for each in artifact["signatures"] if each["name"] == "serving_default"]
        artifact["signatures"] = [first] if default else []
        for name in NAMES:
            signature = json.loads(json.dumps(first)) | {"name": name}
            signature["inputs"][0]["name"] = signature["outputs"][0]["name"] = name
            artifact["signatures"].append(signature)
    manifest["versions"][0]["source"]["labels"] = NAMES[:2]
    (root / "attnexport.json").write_text(json.dumps(manifest))
    code, out, err = attnexport("validate", root, "--html", tmp_path / "report.html")
    assert code in (4, 5), err
    check_printed(out + err)
    assert r"red\x1b[31m" in out + err
    check_page((tmp_path / "report.html").read_text(), {"script": 1})
