"""Hostile names in files and servers, through every command and page: shown as text, or refused, and nothing more."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from attnexport.core import Signature, TensorSpec
from attnexport.core.errors import ContentError
from attnexport.core.printable import printable, shell_word
from attnexport.store import Artifact, ExportDirectory, VersionEntry
from attnexport.store.digest import version_digest
from attnexport.store.files import hash_of
from tests.hostile import NAMES, check_printed

Run = Callable[..., tuple[int, str, str]]


def signatures() -> tuple[Signature, ...]:
    """A signature for each name, with an input and an output of the same name."""
    return tuple(
        Signature(name, (TensorSpec(name, "float32", (None, 3)),), (TensorSpec(name, "float32", (None, 3)),))
        for name in ("serving_default", *NAMES)
    )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export whose manifest has the names wherever it may hold text."""
    root = tmp_path_factory.mktemp("hostile") / "export"
    with ExportDirectory(root).stage() as stage:
        keras, saved_model = stage.add("k", "keras/{version}.keras"), stage.add("s", "saved_model/{version}")
        keras.write_text("no model")
        saved_model.mkdir()
        (saved_model / "saved_model.pb").write_text("no graph")
        artifacts = tuple(
            Artifact(kind, path, "sha256:0", 8, "float32", signatures(), file_hash=hash_of(file))
            for kind, path, file in (
                ("keras", "keras/1.keras", keras),
                ("saved_model", "saved_model/1", saved_model),
            )
        )
        source = {"kind": NAMES[3], **{f"key {at}": name for at, name in enumerate(NAMES)}}
        environment = {"tensorflow": "2.99.0\nRUN reboot", **{name: name for name in NAMES}}
        stage.commit(lambda version: VersionEntry(version, NAMES[0], source, environment, NAMES[1], artifacts))
    return root


def run_all(attnexport: Run, *commands: Sequence[str | Path]) -> str:
    """Run commands, and check what each prints, its JSON as well; gives all of it."""
    printed = ""
    for words in commands:
        for more in ((), ("--json",)):
            code, out, err = attnexport(*words, *more)
            assert code != 1, err  # a bug
            check_printed(out + err)
            if more:
                json.loads(out)
            printed += out + err
    return printed


def test_printable_leaves_text_and_nothing_else() -> None:
    for name in NAMES:
        check_printed(printable(name))
        if name.isprintable():
            assert printable(name) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_word_for_a_shell_is_that_word(name: str) -> None:
    import subprocess

    word = shell_word(name)
    check_printed(word)
    shown = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert shown.stdout.decode() == name


def test_commands_on_a_manifest(attnexport: Run, manifest: Path, tmp_path: Path) -> None:
    printed = run_all(
        attnexport,
        ["inspect", manifest],
        ["inspect", manifest / "keras/1.keras"],
        ["deploy", manifest, "--target", "docker", "--output", tmp_path / "d"],
        ["benchmark", manifest],
        ["validate", manifest],
        ["tflite", manifest, "-q", "float16"],
        ["savedmodel", manifest],
        ["serve", manifest, "--port=auto", "--rest_api_port=auto"],
    )
    assert r"red\x1b[31m" in printed


@pytest.mark.parametrize("target", ["docker", "kubernetes"])
def test_files_of_a_deployment(attnexport: Run, manifest: Path, tmp_path: Path, target: str) -> None:
    import yaml

    code, _, err = attnexport("deploy", manifest, "--target", target, "--output", tmp_path / target)
    assert code == 0, err
    for path in (each for each in (tmp_path / target).rglob("*") if each.is_file() and "models/" not in str(each)):
        text = path.read_text()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\ufeff]", text), path
        if path.suffix in (".yaml", ".yml"):
            list(yaml.safe_load_all(text))
    assert "reboot" not in (tmp_path / target / "Dockerfile").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_exports_that_cannot_be_deployed(attnexport: Run, manifest: Path, tmp_path: Path, name: str) -> None:
    if "/" in name:
        return
    (tmp_path / name).symlink_to(manifest)
    code, out, err = attnexport("deploy", tmp_path / name, "--target", "docker", "--output", tmp_path / "out")
    assert code == (0 if name in ("file",) else 2), err
    check_printed(out + err)
    assert printable(name)[:4] in run_all(attnexport, ["list", tmp_path])


def test_directories_and_files_of_such_names(attnexport: Run, manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "red\x1b[31m; reboot\nattnexport: done"
    export, output = folder / "m", folder / "d"
    shutil.copytree(manifest, export)
    printed = run_all(attnexport, ["deploy", export, "--target", "docker", "--output", output])
    assert f"docker compose --project-directory {shell_word(str(output))} up" in printed
    (export / "saved_model" / "1" / os.fsdecode(b"\xff\n$(reboot)")).write_text("")
    run_all(attnexport, ["inspect", export], ["list", folder], ["validate", export])
    entry = ExportDirectory(export).manifest().versions[-1]
    with pytest.raises(ContentError, match="its name is not printable text"):
        version_digest(export, entry)


def test_samples_and_values(attnexport: Run, exported_classifier: Any, tmp_path: Path) -> None:
    from attnexport.core.mapped import write_npz

    write_npz(tmp_path / "names.npz", {name: np.ones((1, 3), np.float32) for name in NAMES if "/" not in name})
    (tmp_path / "names.json").write_text(json.dumps({name: [[1.0]] for name in NAMES}))
    (tmp_path / "recipe.json").write_text(json.dumps({name: name for name in NAMES}))
    printed = run_all(
        attnexport,
        ["tflite", exported_classifier.directory, "-q", "int8", "--calibration", tmp_path / "names.npz"],
        ["tflite", exported_classifier.directory, "-q", tmp_path / "recipe.json"],
        ["validate", exported_classifier.directory, "--evaluation", tmp_path / "names.npz"],
    )
    assert "red" in printed


class Page(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def check_page(text: str, tags: Mapping[str, int]) -> None:
    """Fail if names became markup."""
    page = Page(text)
    assert not [each for each in page.tags if any(name.startswith("on") for name in each[1])]
    for tag, count in tags.items():
        assert len([each for each in page.tags if each[0] == tag]) == count, tag
    check_printed(text.replace("\t", " "))


class NamedModel:
    """A model that answers with what it got, under hostile names."""

    runtime, strict_shapes, is_steady, defaults = "test", False, False, {}

    def __init__(self) -> None:
        from attnexport.serving.server.loading import signature_definitions

        self.signatures = {each.name: each for each in signatures()}
        self.definitions = signature_definitions(self.signatures)

    def find(self, directory: Path, artifact: str | None) -> Path:
        return directory

    def load(self, path: Path) -> NamedModel:
        if path.name == "2":
            raise ValueError("".join(NAMES))
        return self

    def run(self, inputs: Any, signature: str, outputs: Sequence[str]) -> Any:
        return dict(inputs)

    def warmup_records(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


def test_a_result_in_a_notebook_has_no_markup_of_a_file(manifest: Path) -> None:
    from attnexport.workflows.inspect import inspect

    page = inspect(manifest)._repr_html_()
    assert "alert(1)" in page
    check_page(page, {"script": 0, "img": 0})


@pytest.fixture
def served(start_serving: Callable[..., Any], tmp_path: Path) -> Any:
    from attnexport.serving.server import ModelConfig, VersionPolicy

    configs = []
    for at, name in enumerate(NAMES):
        for version in ("1", "2"):
            (tmp_path / str(at) / version).mkdir(parents=True)
        configs.append(ModelConfig(name, tmp_path / str(at), policy=VersionPolicy(every=True)))
    return start_serving(configs, loader=NamedModel())


def test_the_page_of_the_server(served: Any) -> None:
    status, text = served.http("/")
    assert status == 200
    check_page(text, {"script": 1, "img": 0, "details": len(NAMES)})
    lines = re.findall(r'<pre class="command">(.*?)</pre>', text, re.DOTALL)
    assert len(lines) == 2 * len(NAMES) * (len(NAMES) + 1)
    for line in lines:
        check_printed(unescape(line))


def test_metrics_hold_each_name_in_one_line(served: Any) -> None:
    for name in NAMES:
        served.http(f"/v1/models/{quote(name, safe='')}:predict", {"inputs": [[1, 2, 3]]})
        served.http(f"/v1/models/unknown{quote(name, safe='')}:predict", {"inputs": [[1, 2, 3]]})
    text = served.http("/monitoring/prometheus/metrics")[1]
    line = re.compile(r'# .*|[a-zA-Z_:][\w:]*(\{(\w+="([^"\\\n]|\\.)*",?)*\})? [-+\w.]+')
    assert [each for each in text.split("\n") if each and not line.fullmatch(each)] == []
    for name in NAMES:
        escaped = name.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        assert f'request_count{{model_name="{escaped}",status="OK"}} 1.0' in text


def test_commands_on_a_server(attnexport: Run, served: Any, tmp_path: Path) -> None:
    address = served.server.address
    np.save(tmp_path / "x.npy", np.ones((1, 3), np.float32))
    for name in ("file", "<script>alert(1)</script>"):
        printed = run_all(
            attnexport,
            ["status", "--server", address, "--model", name],
            ["metadata", "--server", address, "--model", name],
            ["predict", "--server", address, "--model", name, "--samples", tmp_path / "x.npy"],
            ["predict", "--server", address, "--model", name, "--samples", tmp_path / "x.npy", "--signature", NAMES[0]],
        )
        assert r"red\x1b[31m" in printed
    for name in NAMES:
        code, out, err = attnexport("status", "--server", address, "--model", f"no{name}")
        assert code in (2, 6), err
        check_printed(out + err)


def test_replies_over_rest_are_json(served: Any) -> None:
    for name in NAMES:
        for path in (f"/v1/models/{quote(name, safe='')}", f"/v1/models/no{quote(name, safe='')}"):
            status, reply = served.http(path)
            assert status in (200, 404)
            assert isinstance(reply, dict)
        body = {"signature_name": name, "inputs": {name: [[1, 2, 3]]}}
        status, reply = served.http("/v1/models/file:predict", body)
        assert status == 200, reply
        assert reply["outputs"] == [[1.0, 2.0, 3.0]]
