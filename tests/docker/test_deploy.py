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
from attnexport.core.signature import InputlessSignature
from attnexport.core.wording import worded
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
    assert str(result) == worded(out.rstrip("\n"))
    assert result.plan.service == export.name
    assert json.loads(result.to_json())["files"] == list(result.files)
    assert "takes 96 gRPC calls at once and refuses more with RESOURCE_EXHAUSTED: clients should try those again" in out
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


def entry_of(
    *shapes: tuple[int | None, ...] | tuple[()], size: int = 1000, tensorflow: str = "2.20.0"
) -> tuple[VersionEntry, Artifact]:
    specs = tuple(TensorSpec(f"x{number}", "float32", shape) for number, shape in enumerate(shapes))
    return entry_with(Signature("serving_default", specs, specs), size=size, tensorflow=tensorflow)


def entry_with(*signatures: Signature, size: int = 1000, tensorflow: str = "2.20.0") -> tuple[VersionEntry, Artifact]:
    artifact = Artifact("saved_model", "saved_model/1", "", size, "float32", signatures)
    return VersionEntry(1, "", {}, {"tensorflow": tensorflow}, "Keras", (artifact,)), artifact


def test_values_fit_the_model() -> None:
    from attnexport.docker import plan_deployment

    def plan(*shapes: tuple[int | None, ...], name: str = "m", size: int = 1000, **options: int) -> object:
        return plan_deployment("kubernetes", name, *entry_of(*shapes, size=size), **options)  # type: ignore[arg-type]

    assert plan((None, 10, 64)).batch_sizes == (1, 2, 4, 8, 16, 32)  # type: ignore[attr-defined]
    # 4 MB in and 4 MB out a sample: no batch of more than 64 MiB.
    assert plan((None, 1000, 1000)).batch_sizes == (1, 2, 4, 8)  # type: ignore[attr-defined]
    # Nothing can be joined where the batch is fixed, or there is none.
    assert plan((1, 10)).batch_sizes == plan(()).batch_sizes == ()  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match=r"max_batch=4 is not possible: input 'x0' .* has shape \[1, 10\]"):
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
    assert "--enable_batching" not in files["Dockerfile"]
    assert (
        "# Requests are not batched: input 'x0' of signature 'serving_default' has shape [1, 10]" in files["Dockerfile"]
    )


X = TensorSpec("x", "float32", (None, 3))


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (
            Signature("f", (X,), (X, TensorSpec("labels", "string", (3,)))),
            "output 'labels' of signature 'f' has shape [3]",
        ),
        (Signature("f", (X,), (TensorSpec("total", "float32", ()),)), "output 'total' of signature 'f' has shape []"),
        (Signature("f", (X, TensorSpec("dense_shape", "int64", (2,))), (X,)), "input 'dense_shape' of signature 'f'"),
        (Signature("f", (X,), (TensorSpec("y", "float32", None),)), "output 'y' of signature 'f' has shape [...]"),
        (InputlessSignature("words", (), (X,)), "signature 'words' has no inputs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_batching_is_on_only_where_every_signature_has_a_batch(signature: Signature, reason: str) -> None:
    from attnexport.docker import plan_deployment, render

    entry = entry_with(Signature("serving_default", (X,), (X,)), signature)
    plan = plan_deployment("docker", "m", *entry)
    assert plan.batch_sizes == ()
    assert reason in plan.no_batching
    files = render(plan)
    assert f"# Requests are not batched: {reason}" in files["Dockerfile"]
    assert "--enable_batching" not in files["Dockerfile"]
    with pytest.raises(ArgumentError, match="max_batch=8 is not possible: "):
        plan_deployment("docker", "m", *entry, max_batch=8)


def test_the_newest_known_image_is_taken_and_another_on_request() -> None:
    from attnexport.docker import plan_deployment
    from attnexport.docker.tags import CHECKED, TAGS

    def plan(tensorflow: str, tag: str | None = None) -> tuple[str, tuple[str, ...]]:
        made = plan_deployment("docker", "m", *entry_of((None, 3), tensorflow=tensorflow), tf_serving_version=tag)
        return made.tf_serving_version, made.notes

    assert list(TAGS) == sorted(TAGS, key=lambda tag: [int(part) for part in tag.split(".")], reverse=True)
    assert plan("2.16.2") == plan("2.20.1") == (TAGS[0], ())
    tag, [note] = plan("2.21.0")
    assert tag == TAGS[0]
    assert "TensorFlow 2.21.0 wrote this export" in note
    assert f"the newest image in {CHECKED}: pass --tf-serving-version" in note
    tag, [note] = plan("2.21.0", "2.21.0")
    assert tag == "2.21.0"
    assert "is not among the tags known" in note
    assert plan("2.20.0", "2.20.0-gpu") == ("2.20.0-gpu", ())
    assert plan("2.21.0", "nightly") == ("nightly", ())


def test_a_cluster_is_told_where_to_pull_from() -> None:
    from attnexport.docker import plan_deployment

    entry = entry_of((None, 3), tensorflow="2.20.0")
    [note] = plan_deployment("kubernetes", "m", *entry).notes
    assert note.startswith("the image name m:1 has no registry for a cluster to pull from: pass --image")
    assert plan_deployment("kubernetes", "m", *entry, image="registry.example/m:1").notes == ()


def test_a_server_takes_calls_that_fill_its_batches() -> None:
    from attnexport.docker import plan_deployment, render

    def threads(*shape: int | None, cpus: int = 2, max_batch: int | None = None) -> int:
        plan = plan_deployment("docker", "m", *entry_of(shape), cpus=cpus, max_batch=max_batch)
        assert f'"--grpc_max_threads={plan.grpc_max_threads}"' in render(plan)["Dockerfile"]
        return plan.grpc_max_threads

    assert threads(1, 3) == 64
    assert threads(1, 3, cpus=8) == 128
    assert threads(None, 3) == 96  # two batches of 32 that run, and one that fills
    assert threads(None, 3, max_batch=512) == 1536
