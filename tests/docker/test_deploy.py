"""`attnexport deploy`: what it writes, what it refuses, and that nothing of others is lost."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from attnexport.core import ArgumentError, Signature, TensorSpec
from attnexport.store import Artifact, VersionEntry

Run = Callable[..., tuple[int, str, str]]
Deploy = Callable[..., Path]


def test_the_model_is_copied_and_anyone_may_read_it(deployed: Deploy, export: Path) -> None:
    output = deployed("docker")
    copied, original = output / "models" / export.name / "1", export / "saved_model" / "1"
    for path in (each for each in original.rglob("*") if each.is_file()):
        assert (copied / path.relative_to(original)).read_bytes() == path.read_bytes()
    for path in (output, *output.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o755 if path.is_dir() or path.name == "health.sh" else 0o644), path
    assert not list(output.parent.glob(".tmp-*"))


def test_json_tells_the_values(attnexport: Run, export: Path, tmp_path: Path) -> None:
    words = (
        "--cpus",
        "4",
        "--max-batch",
        "12",
        "--image",
        "registry.example/team/c:7",
        "--tf-serving-version",
        "2.19.1",
    )
    code, out, err = attnexport(
        "deploy", export, "--target", "kubernetes", "--output", tmp_path / "k", *words, "--json"
    )
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["batch_sizes"] == [1, 2, 4, 8, 12]
    assert (document["cpus"], document["image"]) == (4, "registry.example/team/c:7")
    assert "FROM tensorflow/serving:${TF_SERVING_VERSION}" in (tmp_path / "k" / "Dockerfile").read_text()
    assert "ARG TF_SERVING_VERSION=2.19.1\n" in (tmp_path / "k" / "Dockerfile").read_text()
    for file in document["files"]:
        assert (tmp_path / "k" / file).exists()


def test_python_deploys_with_the_same_files_and_tables(attnexport: Run, export: Path, tmp_path: Path) -> None:
    import attnexport as ax

    code, out, _ = attnexport("deploy", export, "--target", "docker", "--output", tmp_path / "k")
    shutil.rmtree(tmp_path / "k")
    result = ax.deploy(str(export), str(tmp_path / "k"), target="docker")
    assert code == 0
    assert str(result) == out.rstrip("\n")
    assert result.plan.service == export.name
    assert json.loads(result.to_json())["files"] == list(result.files)
    assert all((tmp_path / "k" / file).exists() for file in result.files)
    with pytest.raises(ArgumentError, match="no target 'kubernets'; did you mean 'kubernetes'"):
        ax.deploy(export, tmp_path / "other", target="kubernets")  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()


def test_what_it_wrote_itself_is_replaced_and_nothing_else(
    attnexport: Run, deployed: Deploy, export: Path, tmp_path: Path
) -> None:
    output = deployed("docker")
    deployed("docker", "--cpus", "3")
    assert "session_parallelism=3" in (output / "Dockerfile").read_text()
    again = ("deploy", export, "--target", "docker", "--output", output)
    (output / "config" / "batching.config").write_text("max_batch_size { value: 8 }\n")
    code, _, err = attnexport(*again)
    assert code == 3
    assert f"{output}/config/batching.config was changed since deploy wrote it" in err
    assert (output / "config" / "batching.config").read_text() == "max_batch_size { value: 8 }\n"
    assert attnexport(*again, "--force")[0] == 0
    (output / "mine.txt").touch()
    assert attnexport(*again)[0] == 3
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    code, _, err = attnexport("deploy", export, "--target", "docker", "--output", foreign, "--force")
    assert code == 3
    assert "was not written by deploy and is not empty" in err
    assert [path.name for path in foreign.iterdir()] == ["notes.txt"]


def test_a_changed_model_is_not_deployed_and_the_old_deployment_stays(
    attnexport: Run, export: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "export" / export.name
    shutil.copytree(export, mine)
    words = ("deploy", mine, "--target", "docker", "--output", tmp_path / "out")
    assert attnexport(*words)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with (mine / "saved_model" / "1" / "saved_model.pb").open("ab") as graph:
        graph.write(b"\n")
    code, _, err = attnexport(*words)
    assert code == 5
    assert "is not what was exported" in err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert sorted(os.listdir(tmp_path)) == ["export", "out"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--target", "heroku"], "docker"),
        (["--target", "docker", "--version", "9"], "no version 9; there is 1"),
        (["--target", "docker", "--cpus", "0"], "cpus must be a whole number of at least 1"),
        (["--target", "docker", "--max-batch", "0"], "max-batch must be"),
        (["--target", "docker", "--image", "no image"], "is not the name of an image"),
        (["--target", "docker", "--tf-serving-version", "2.19; rm"], "is not a tag of tensorflow/serving"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_bad_arguments_are_refused_before_anything_is_written(
    attnexport: Run, export: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    code, _, err = attnexport("deploy", export, "--output", tmp_path / "out", *words)
    assert code == 2
    assert told in err
    assert not (tmp_path / "out").exists()


def entry_of(*shapes: tuple[int | None, ...] | tuple[()], size: int = 1000) -> tuple[VersionEntry, Artifact]:
    specs = tuple(TensorSpec(f"x{number}", "float32", shape) for number, shape in enumerate(shapes))
    signature = Signature("serving_default", specs, specs)
    artifact = Artifact("saved_model", "saved_model/1", "", size, "float32", (signature,))
    return VersionEntry(1, "", {}, {"tensorflow": "2.21.0"}, "Keras", (artifact,)), artifact


def test_values_fit_the_model() -> None:
    from attnexport.docker import plan_deployment

    def plan(*shapes: tuple[int | None, ...], name: str = "m", size: int = 1000, **options: int) -> object:
        return plan_deployment("kubernetes", name, *entry_of(*shapes, size=size), **options)  # type: ignore[arg-type]

    assert plan((None, 10, 64)).batch_sizes == (1, 2, 4, 8, 16, 32)  # type: ignore[attr-defined]
    # 4 MB in and 4 MB out a sample: no batch of more than 64 MiB.
    assert plan((None, 1000, 1000)).batch_sizes == (1, 2, 4, 8)  # type: ignore[attr-defined]
    # Nothing can be joined where the batch is fixed, or there is none.
    assert plan((1, 10)).batch_sizes == plan(()).batch_sizes == ()  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match="batch of this model is fixed"):
        plan((1, 10), max_batch=4)
    small, large = plan((None, 3)), plan((None, 3), size=1 << 30)
    assert small.memory_mib == 768  # type: ignore[attr-defined]
    assert large.memory_mib == 512 + 3 * 1024  # type: ignore[attr-defined]
    assert plan((None, 3), name="My_model.v2").service == "my-model-v2"  # type: ignore[attr-defined]
    assert plan((None, 3), name="7").service == "model-7"  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match="cannot be deployed"):
        plan((None, 3), name='a"b')


def test_a_model_of_fixed_batch_gets_no_batching() -> None:
    from attnexport.docker import plan_deployment, render

    files = render(plan_deployment("docker", "m", *entry_of((1, 10))))
    assert "config/batching.config" not in files
    assert "batching" not in files["Dockerfile"]
