"""What a version has beside what its manifest says that it has: files, signatures, types, warm-up records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from attnexport.core.errors import AttnexportError, ModelError, first_line
from attnexport.exporter.warmup import read_warmup
from attnexport.parity import Check, Subject, Validation
from attnexport.parity.structure import differences
from attnexport.store import Artifact, ExportDirectory, VersionEntry
from attnexport.store.records import KINDS
from attnexport.tflite.claims import false_claims
from attnexport.tflite.graph import read_graph

from .validation_subjects import DamagedRunner

STRUCTURE = "what was exported"  # the case of these checks
_MOST_ALIKE = 32  # warm-up records of one signature, types and shapes that are run
_HASHED_SINCE = (0, 1)  # the versions of attnexport that record a hash of each artifact


def structure_checks(
    directory: ExportDirectory, entry: VersionEntry, subjects: Sequence[Subject], precision: str
) -> list[Check]:
    """The findings on the artifacts of a version, none if all are as the manifest and the original say.

    Args:
        directory: The export.
        entry: The version.
        subjects: Its artifacts in their runtimes, and those of servers.
        precision: The row of parity's table of budgets that the original computes in.
    """
    found = [*_files(directory, entry), *_originals(entry, precision)]
    for subject in subjects:
        artifact = entry.artifact_at(subject.artifact)
        if artifact is not None and not isinstance(subject.runner, DamagedRunner):
            found += _subject(directory, artifact, subject)
    return found


def uncompared(entry: VersionEntry, verdict: Validation, reasons: Sequence[str]) -> list[Check]:
    """The artifacts that nothing was compared with, each a failure: silence must not be taken for agreement."""
    compared = {check.artifact for check in verdict.checks}
    because = f" ({'; '.join(reasons)})" if reasons else ""
    return [
        _check(each, "", "*", f"it was compared with nothing{because}")
        for each in entry.artifacts
        if each.kind != "keras" and each.path not in compared
    ]


def notes_on_hashes(entry: VersionEntry) -> list[str]:
    """That changes of artifacts cannot be told, if the export is older than hashes."""
    without = [each.path for each in entry.artifacts if each.file_hash is None]
    if not without or _is_hashed(entry):
        return []
    return [f"this export is older than hashes of files: changes of {', '.join(without)} show only in their numbers"]


def _files(directory: ExportDirectory, entry: VersionEntry) -> Iterator[Check]:
    for artifact in entry.artifacts:
        if artifact.file_hash is None and _is_hashed(entry):
            yield _check(artifact, "", "*", "the manifest has no hash of it, which this attnexport records")
    number = str(entry.version)
    on_disk = [path for kind in KINDS for path in (directory.root / kind).glob(f"{number}*") if path.stem == number]
    on_disk += (directory.root / "tflite" / number).glob("*.tflite")
    paths = {path.relative_to(directory.root).as_posix() for path in on_disk} - {f"tflite/{number}"}
    # Read again: a conversion may have added a file meanwhile.
    listed = {each.path for each in directory.manifest().entry(entry.version).artifacts}
    for path in sorted(paths - listed):
        yield Check(path, "", "", "*", "*", STRUCTURE, False, None, "the manifest does not list it")


def _originals(entry: VersionEntry, precision: str) -> Iterator[Check]:
    """What the manifest says of the SavedModel beside what it says of the original, and of its precision."""
    keras, saved_model = entry.artifact("keras"), entry.artifact("saved_model")
    if saved_model is None:
        return
    if keras is not None:
        signatures = {each.name: each for each in saved_model.signatures}
        for name, text in differences(keras.signatures, signatures):
            yield _check(saved_model, "", name, f"{text} (of the original)")
    if saved_model.precision != precision:
        text = f"the manifest calls it {saved_model.precision}, and the original computes in {precision}"
        yield _check(saved_model, "", "*", text)


def _subject(directory: ExportDirectory, artifact: Artifact, subject: Subject) -> Iterator[Check]:
    runner = subject.runner
    if artifact.kind == "tflite" and subject.runtime == "interpreter":
        graph = read_graph((directory.root / artifact.path).read_bytes())
        actual = {name: graph.signature(name) for name in graph.signatures}
        for name, text in differences(artifact.signatures, actual):
            yield _check(artifact, subject.runtime, name, text)
        for text in false_claims(graph, artifact.precision, artifact.recipe):
            yield _check(artifact, subject.runtime, "*", text)
    elif subject.runtime in ("session", "gRPC"):
        # A server gives a .tflite's types as it computes with them.
        names_only = artifact.kind == "tflite"
        for name, text in differences(artifact.signatures, runner.signatures, names_only=names_only):
            yield _check(artifact, subject.runtime, name, text)
    if subject.runtime == "session":
        yield from _warmup(directory, artifact, subject)


def _warmup(directory: ExportDirectory, artifact: Artifact, subject: Subject) -> Iterator[Check]:
    """TF Serving replays the records before it calls a version available: one that fails keeps it down.

    All are read; of those that have the same signature, types and shapes, the first few are run.
    """
    number, run = 0, Counter[object]()
    try:
        for record in read_warmup(directory.root / artifact.path):
            number += 1
            if record is not None:
                name, inputs = record
                form = (name, *((key, array.dtype.str, array.shape) for key, array in sorted(inputs.items())))
                run[form] += 1
                if run[form] <= _MOST_ALIKE:
                    subject.runner.run(inputs, name)
    except AttnexportError as error:
        text = str(error) if isinstance(error, ModelError) and "damaged" in str(error) else first_line(error)
        yield _check(artifact, subject.runtime, "*", f"warm-up record {number or 1} fails: {text}")


def _is_hashed(entry: VersionEntry) -> bool:
    """Whether the attnexport that made the version records hashes; unknown ones do."""
    parts = entry.environment.get("attnexport", "").split(".")[:2]
    return tuple(int(each) for each in parts if each.isdecimal()) >= _HASHED_SINCE if all(parts) else True


def _check(artifact: Artifact, runtime: str, signature: str, problem: str) -> Check:
    return Check(artifact.path, runtime, artifact.precision, signature, "*", STRUCTURE, False, None, problem)
