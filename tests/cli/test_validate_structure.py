"""What an export has beside what its manifest says: `attnexport validate` names what is missing, added or other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from attnexport.core import Signature
from attnexport.store import Artifact, ExportDirectory, VersionEntry

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]  # opens the digits export in every runtime

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def opened(exported: Path) -> Iterator[tuple[ExportDirectory, VersionEntry, Any]]:
    """The export, its version, and its artifacts in their runtimes."""
    from attnexport.workflows.validation_subjects import open_subjects

    directory = ExportDirectory(exported)
    with ExitStack() as stack:
        yield directory, directory.newest(), open_subjects(directory, directory.newest(), stack)


@pytest.fixture(scope="module")
def findings(opened: Any) -> Callable[[VersionEntry], dict[str, list[str]]]:
    """The findings on a version whose manifest says something else, by the artifact's name."""
    from attnexport.workflows.validation_structure import structure_checks

    directory, _, subjects = opened

    def find(entry: VersionEntry, precision: str = "float32") -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for check in structure_checks(directory, entry, subjects, precision):
            name = Path(check.artifact).name
            found.setdefault(name, []).append(f"{check.signature}: {check.problem}")
        return found

    return find


def changed(entry: VersionEntry, kind: str, change: Callable[[Artifact], Artifact], part: str = "") -> VersionEntry:
    """The version with an artifact that is otherwise."""
    artifacts = [change(each) if each.kind == kind and part in each.path else each for each in entry.artifacts]
    return replace(entry, artifacts=tuple(artifacts))


def with_signatures(change: Callable[[Signature], list[Signature]]) -> Callable[[Artifact], Artifact]:
    return lambda each: replace(each, signatures=tuple(new for old in each.signatures for new in change(old)))


def test_an_export_as_it_was_made_has_no_findings(opened: Any, findings: Any) -> None:
    assert findings(opened[1]) == {}


def test_the_manifest_and_the_files_must_have_the_same_signatures(opened: Any, findings: Any) -> None:
    entry = opened[1]
    gone = changed(entry, "saved_model", with_signatures(lambda old: [] if old.name == "classify" else [old]))
    assert findings(gone)["1"] == [
        f"classify: is missing; there is {', '.join(repr(each.name) for each in gone.artifacts[1].signatures)} (of the "
        "original)",
        "classify: is not a signature that was exported",
    ]
    added = changed(entry, "saved_model", with_signatures(lambda old: [old, replace(old, name=f"{old.name}_2")]))
    assert any("serving_default_2: is missing; there is" in text for text in findings(added)["1"])
    other = changed(
        entry,
        "saved_model",
        with_signatures(lambda old: [replace(old, method="regress") if old.name == "classify" else old]),
    )
    assert "classify: has method 'classify' instead of 'regress'" in findings(other)["1"]

    def fixed(old: Signature) -> list[Signature]:
        return [replace(old, inputs=tuple(replace(each, shape=(1, *each.shape[1:])) for each in old.inputs))]

    for kind in ("saved_model", "keras"):
        entry = changed(entry, kind, with_signatures(fixed))
    assert "serving_default: input 'rows' has shape [?, 8, 8] instead of [1, 8, 8]" in findings(entry)["1"]


def test_a_tflite_holds_what_it_is_said_to_hold(opened: Any, findings: Any) -> None:
    entry, int8, float32 = opened[1], "digits-multihead.int8.tflite", "digits-multihead.float32.tflite"
    looser = changed(entry, "tflite", lambda each: replace(each, precision="int4"), ".int8.")
    assert findings(looser)[int8] == [
        "*: it is said to be int4, and its recipe 'int8' is int8",
        "*: it is said to have int4 weights (int4), and its weights are 100% int8",
        "*: it is said to compute in float (int4), and computes in int8",
    ]
    claimed = changed(entry, "tflite", lambda each: replace(each, precision="int8", recipe=None), ".float32.")
    assert findings(claimed)[float32] == [
        "*: it is said to have int8 weights (int8), and its weights are 100% float32",
        "*: it is said to compute in int8 (int8), and nothing in it does",
    ]
    dropped = changed(entry, "tflite", with_signatures(lambda old: [old, replace(old, name="attention")]), ".int8.")
    assert findings(dropped)[int8] == ["attention: is missing; there is 'serving_default'"]


def test_a_looser_precision_of_the_original_is_a_finding(opened: Any, findings: Any) -> None:
    looser = changed(opened[1], "saved_model", lambda each: replace(each, precision="bfloat16"))
    assert findings(looser)["1"] == ["*: the manifest calls it bfloat16, and the original computes in float32"]


def test_a_missing_hash_is_a_finding_in_a_newer_manifest_and_a_note_in_an_old_one(opened: Any, findings: Any) -> None:
    from attnexport.workflows.validation_structure import notes_on_hashes

    without = changed(opened[1], "tflite", lambda each: replace(each, file_hash=None), ".int8.")
    assert "the manifest has no hash of it" in findings(without)["digits-multihead.int8.tflite"][0]
    assert notes_on_hashes(without) == []
    old = replace(without, environment={**without.environment, "attnexport": "0.0.9"})
    assert findings(old) == {}
    assert "older than hashes of files: changes of tflite/1/digits-multihead.int8.tflite" in notes_on_hashes(old)[0]


def test_files_that_the_manifest_does_not_list_are_named(export: Path) -> None:
    from attnexport.workflows.validation_structure import notes_on_versions, structure_checks

    shutil.copy(export / "tflite/1/digits-multihead.int8.tflite", export / "tflite/1/other.tflite")
    directory = ExportDirectory(export)
    [check] = structure_checks(directory, directory.newest(), [], "float32")
    assert str(check) == "tflite/1/other.tflite: the manifest does not list it"
    shutil.copytree(export / "saved_model/1", export / "saved_model/2")  # another version's
    assert len(structure_checks(directory, directory.newest(), [], "float32")) == 1
    assert notes_on_versions(directory) == [
        "the manifest does not list saved_model/2, and TF Serving takes it for a version"
    ]


def test_what_the_manifest_says_of_size_and_content_is_so(opened: Any) -> None:
    from attnexport.workflows.validation_structure import stale_records

    directory, entry, _ = opened
    assert stale_records(directory, entry) == []
    size = changed(entry, "tflite", lambda each: replace(each, size_bytes=5), ".int8.")
    [check] = stale_records(directory, size)
    assert str(check).endswith("bytes, and the manifest says 5"), check
    for kind, part, count in (("tflite", ".int8.", 1), ("keras", "", 2)):
        other = changed(entry, kind, lambda each: replace(each, content_hash="sha256:0"), part)
        found = stale_records(directory, other)
        assert [each.problem for each in found] == [
            "the manifest's content_hash is not that of what was exported"
        ] * count


def test_an_artifact_that_nothing_was_compared_with_does_not_pass(opened: Any) -> None:
    from attnexport.parity import Check, Validation
    from attnexport.workflows.validation_structure import uncompared

    entry = opened[1]
    some = Check("saved_model/1", "session", "float32", "s", "y", "c", False, None, None)
    missed = uncompared(entry, Validation("Keras", (some,)), ["signature 's' is not compared: why"])
    assert [Path(each.artifact).name for each in missed] == [
        "digits-multihead.float32.tflite",
        "digits-multihead.int8.tflite",
    ]
    assert missed[0].problem == "it was compared with nothing (signature 's' is not compared: why)"


class Fake:
    """A server of what it is told, and INTERNAL for every call."""

    def __init__(self, version: int, names: tuple[str, ...], saved_model: Path | None) -> None:
        self.version, self.names, self.saved_model = version, names, saved_model

    def metadata(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import get_model_metadata_pb2 as pb2

        reply = pb2.GetModelMetadataResponse()
        reply.model_spec.name = request.model_spec.name
        reply.model_spec.version.value = self.version
        signatures = pb2.SignatureDefMap()
        if self.saved_model is not None:
            from tensorflow.core.protobuf import saved_model_pb2

            content = saved_model_pb2.SavedModel.FromString((self.saved_model / "saved_model.pb").read_bytes())
            for name, definition in content.meta_graphs[0].signature_def.items():
                signatures.signature_def[name].CopyFrom(definition)
        for name in self.names:
            definition = signatures.signature_def[name]
            definition.method_name = "tensorflow/serving/predict"
            for tensors, key, sizes in (
                (definition.inputs, "rows", (-1, 8, 8)),
                (definition.outputs, "logits", (-1, 10)),
            ):
                tensors[key].name, tensors[key].dtype = f"{key}:0", 1
                for size in sizes:
                    tensors[key].tensor_shape.dim.add(size=size)
        reply.metadata["signature_def"].Pack(signatures)
        return reply

    def refuse(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.INTERNAL, "broken")


@pytest.fixture
def fake_server() -> Iterator[Callable[..., str]]:
    from tensorflow_serving.apis.prediction_service_pb2_grpc import add_PredictionServiceServicer_to_server

    servers = []

    def start(version: int, names: tuple[str, ...] = (), saved_model: Path | None = None) -> str:
        server = grpc.server(futures.ThreadPoolExecutor(2))
        fake: Any = Fake(version, names, saved_model)
        fake.GetModelMetadata = fake.metadata
        for name in ("Predict", "Classify", "Regress", "MultiInference"):
            setattr(fake, name, fake.refuse)
        add_PredictionServiceServicer_to_server(fake, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


def test_a_server_without_the_signatures_is_a_finding(opened: Any, fake_server: Any) -> None:
    from attnexport.core.errors import ServingError
    from attnexport.workflows.validation_structure import structure_checks
    from attnexport.workflows.validation_subjects import server_subjects

    directory, entry, _ = opened
    with ExitStack() as stack:
        subjects = server_subjects(fake_server(1, ("other",)), "digits-multihead", entry, stack)
        found = [str(each) for each in structure_checks(directory, entry, subjects, "float32")]
        assert "saved_model/1 (gRPC), signature 'serving_default': is missing; there is 'other'" in found
        assert "saved_model/1 (gRPC), signature 'other': is not a signature that was exported" in found
        subjects = server_subjects(fake_server(1, ("serving_default",)), "digits-multihead", entry, stack)
        found = [str(each) for each in structure_checks(directory, entry, subjects, "float32")]
        assert {"'classify'" in each or "'attention'" in each for each in found} == {True}
        with pytest.raises(ServingError, match="answers for version 7 of 'digits-multihead'; version 1"):
            server_subjects(fake_server(7, ("serving_default",)), "digits-multihead", entry, stack)


def test_a_server_that_refuses_every_call_is_6_not_5(
    attnexport: Run, exported: Path, fake_server: Any, opened: Any
) -> None:
    names = tuple(each.name for each in opened[1].artifact("saved_model").signatures)
    assert names
    from attnexport.parity import Batch, Subject, Validation, validate
    from attnexport.workflows.validation_subjects import server_subjects

    _, entry, subjects = opened
    session = next(each for each in subjects if each.runtime == "session")
    with ExitStack() as stack:
        [refusing] = server_subjects(fake_server(1, ("serving_default",)), "digits-multihead", entry, stack)
        inputs = {"rows": np.zeros((3, 8, 8), np.float32)}
        batches = [Batch("data", inputs), Batch("zeros", inputs, is_edge=True)]
        both = [refusing, Subject.of(entry.artifact("saved_model"), "session", session.runner)]
        verdict = validate(session.runner, both, batches)
    assert verdict.only_servers_failed
    assert len(verdict.failures) == 2
    answered = replace(verdict.failures[0], problem=None, is_refused=False)
    assert not Validation("Keras", (*verdict.checks, answered)).only_servers_failed


def test_internal_from_every_call_of_a_server_is_exit_code_6(
    attnexport: Run, exported: Path, digits: Any, fake_server: Any
) -> None:
    """It has every signature that was exported, so that nothing else is wrong with it."""
    address = fake_server(1, saved_model=exported / "saved_model/1")
    code, out, err = attnexport("validate", exported, "--server", address, "--evaluation", digits.evaluation)
    assert (code, "INTERNAL" in err) == (6, True), (code, err)
    assert "saved_model/1" in out


def test_half_precision_is_not_judged_on_what_float16_does_not_hold(opened: Any) -> None:
    """Incomes of 70,000 are infinite there: that says nothing about the file."""
    from attnexport.workflows.validation_subjects import without_half

    subjects = opened[2]
    inputs = {"rows": np.full((2, 8, 8), 65504, np.float32)}
    kept, notes = without_half(subjects, inputs)
    assert (len(kept), notes) == (len(subjects), [])
    assert "half precision" in {each.runtime for each in kept}
    inputs["rows"][1, 0, 0] = -70000
    kept, [note] = without_half(subjects, inputs)
    assert "input 'rows' holds 70000, and float16 ends at 65504" in note
    assert "half precision" not in {each.runtime for each in kept}
