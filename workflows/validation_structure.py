"""What a version has beside what its manifest says that it has: files, signatures, types, warm-up records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from attnexport.core.runner import Runner
from attnexport.exporter import SavedModelRunner
from attnexport.parity import Check, Subject, Validation
from attnexport.parity.structure import differences
from attnexport.store import Artifact, ExportDirectory, VersionEntry
from attnexport.store.files import size_of
from attnexport.store.records import KINDS
from attnexport.tflite.claims import false_claims
from attnexport.tflite.graph import read_graph

from .validation_subjects import DamagedRunner
from .validation_warmup import failing_warmup

STRUCTURE = "what was exported"  # the case of these checks
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
            if entry.artifact("keras") is not None:  # a SavedModel of somebody else's is as they made it
                found += _methods(artifact, subject.runner)
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


def stale_records(directory: ExportDirectory, entry: VersionEntry) -> list[Check]:
    """What the manifest says of the content and size of artifacts that is not so.

    A difference in numbers or structure says more: these count if there is none.
    """
    found: list[Check] = []
    contents = {each.content_hash for each in entry.artifacts if each.kind != "tflite"}
    for artifact in entry.artifacts:
        # Of a .tflite the content is its bytes; an original and its SavedModel have the same content.
        is_tflite = artifact.kind == "tflite"
        wrong = artifact.file_hash not in (None, artifact.content_hash) if is_tflite else len(contents) > 1
        if wrong:
            found.append(_check(artifact, "", "*", "the manifest's content_hash is not that of what was exported"))
        if (size := size_of(directory.root / artifact.path)) != artifact.size_bytes:
            text = f"it has {size:,} bytes, and the manifest says {artifact.size_bytes:,}"
            found.append(_check(artifact, "", "*", text))
    return found


def notes_on_versions(directory: ExportDirectory) -> list[str]:
    """The SavedModels beside those of the manifest: an export that was killed may have left one."""
    known = {each.path for entry in directory.manifest().versions for each in entry.artifacts}
    names = [each.name for each in (directory.root / "saved_model").glob("*") if each.name.isdecimal()]
    unlisted = sorted(path for each in names if (path := f"saved_model/{each}") not in known)
    return [f"the manifest does not list {each}, and TF Serving takes it for a version" for each in unlisted]


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
    if unlisted := _unlisted(directory, entry.version):
        with suppress(OSError), directory.locked():  # an export that commits has given its names, and lists them next
            unlisted = _unlisted(directory, entry.version)
    for path in unlisted:
        yield Check(path, "", "", "*", "*", STRUCTURE, False, None, "the manifest does not list it")


def _unlisted(directory: ExportDirectory, version: int) -> list[str]:
    """The artifacts of a version on disk that the manifest does not list."""
    root, number = directory.root, str(version)
    on_disk = [path for kind in KINDS for path in (root / kind).glob(f"{number}*") if path.stem == number]
    on_disk += (root / "tflite" / number).glob("*.tflite")
    paths = {path.relative_to(root).as_posix() for path in on_disk} - {f"tflite/{number}"}
    # Read after the disk: a conversion may have added a file meanwhile.
    return sorted(paths - {each.path for each in directory.manifest().entry(version).artifacts})


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
        problem = failing_warmup(directory.root / artifact.path, runner)
        if problem is not None:
            yield _check(artifact, subject.runtime, "*", problem)


def _methods(artifact: Artifact, runner: Runner) -> Iterator[Check]:
    """The signatures with a method that TF Serving does not know, and refuses to run."""
    for name, method in runner.unknown_methods.items() if isinstance(runner, SavedModelRunner) else ():
        yield _check(artifact, "session", name, f"has method {method!r}, which TF Serving refuses")


def _is_hashed(entry: VersionEntry) -> bool:
    """Whether the attnexport that made the version records hashes; unknown ones do."""
    parts = entry.environment.get("attnexport", "").split(".")[:2]
    return tuple(int(each[:9]) for each in parts if each.isdecimal()) >= _HASHED_SINCE if all(parts) else True


def _check(artifact: Artifact, runtime: str, signature: str, problem: str) -> Check:
    return Check(artifact.path, runtime, artifact.precision, signature, "*", STRUCTURE, False, None, problem)
