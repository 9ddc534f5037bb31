"""Cases for a device: the inputs to run there, and the outputs it recorded.

docs/how-to/run-on-a-device.md describes the format.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core import Arrays, SamplesError
from attnexport.core.errors import ArgumentError, one_of
from attnexport.core.os_errors import writing
from attnexport.core.runner import RecordedRunner
from attnexport.core.samples import content_hash, read_arrays
from attnexport.exporter import ModelSource
from attnexport.parity.checks import Batch, Subject
from attnexport.parity.validation import takes
from attnexport.store import Artifact, VersionEntry
from attnexport.store.files import replacing

from .validation_data import Data, batches

FORMAT = 1
_OUTPUT = re.compile(r"(\d{1,9})/([^/]+)/([^/]+)")


def device_artifacts(entry: VersionEntry) -> list[Artifact]:
    """The artifacts of a version that devices run.

    Raises:
        ArgumentError: The version has none.
    """
    artifacts = [each for each in entry.artifacts if each.kind == "tflite"]
    if not artifacts:
        raise ArgumentError(f"version {entry.version} has no .tflite for a device; make one with attnexport tflite")
    return artifacts


def device_batches(original: ModelSource, data: Data, artifacts: Sequence[Artifact]) -> Iterator[Batch]:
    """The batches of a validation, for the signatures that any of the artifacts has."""
    names = {signature.name for artifact in artifacts for signature in artifact.signatures}
    return batches(original, data, sorted(names & original.signatures.keys()))


def write_batches(path: Path, artifacts: Sequence[Artifact], cases: Iterable[Batch]) -> int:
    """Write the inputs that any of the artifacts takes to one .npz file; gives their number.

    Args:
        path: The file.
        artifacts: What a device runs.
        cases: From `device_batches`; gone through once.

    Raises:
        ArgumentError: The path is not an .npz.
        SamplesError: No artifact takes any of the inputs.
        StorageError: The file cannot be written.
    """
    if path.suffix != ".npz":
        raise ArgumentError(f"cases are written to an .npz file; received {path}")
    names = []
    digest = hashlib.sha256()
    with writing(path), replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number, batch in _numbered(artifacts, cases):
            names.append(batch.case)
            _count(digest, number, batch)
            for name, array in batch.inputs.items():
                _write(archive, f"{number:04}/{batch.signature}/{name}", array)
        if not names:
            raise SamplesError(
                f"the samples do not have the shape that {one_of([each.path for each in artifacts])} takes"
            )
        _write(archive, "format", np.array(FORMAT))
        _write(archive, "cases", np.bytes_(f"sha256:{digest.hexdigest()}"))
        _write(archive, "names", np.array(names, "S"))
        _write(archive, "artifacts", np.array([each.path for each in artifacts], "S"))
    return len(names)


def read_recording(path: Path, artifacts: Sequence[Artifact], cases: Iterable[Batch]) -> Subject:
    """The outputs that a device recorded, to be compared like an artifact in a runtime.

    Args:
        path: An .npz with the outputs for what `write_batches` wrote of the same artifacts and cases.
        artifacts: What a device runs.
        cases: From `device_batches`; gone through once.

    Raises:
        SamplesError: The file is damaged, is not a recording, or has the outputs of other cases.
    """
    arrays = read_arrays(path)
    header = {name: _text(path, name, arrays.pop(name, None)) for name in ("cases", "artifact")}
    artifact = next((each for each in artifacts if each.path == header["artifact"]), None)
    if artifact is None:
        known = one_of([each.path for each in artifacts])
        raise SamplesError(f"{path} was recorded with {header['artifact']!r}; the version has {known}")
    recorded = _outputs(path, arrays)
    runner = RecordedRunner({each.name: each.with_free_batch() for each in artifact.signatures})
    digest = hashlib.sha256()
    for number, batch in _numbered(artifacts, cases):
        _count(digest, number, batch)
        outputs = recorded.pop((number, batch.signature), None)
        if outputs is not None:
            runner.record(batch.inputs, batch.signature, outputs)
    if header["cases"] != f"sha256:{digest.hexdigest()}":
        raise SamplesError(
            f"{path} has the outputs of other cases; write the cases again, from the same version and the same "
            "evaluation samples"
        )
    if recorded:
        number, signature = next(iter(recorded))
        raise SamplesError(f"{path} contains unknown case {number:04}/{signature}")
    return Subject.of(artifact, path.name, runner)


def _numbered(artifacts: Sequence[Artifact], cases: Iterable[Batch]) -> Iterator[tuple[int, Batch]]:
    """The cases that any artifact takes, numbered from 0."""
    taken = (
        batch
        for batch in cases
        if any(
            signature.name == batch.signature and takes(signature, batch.inputs)
            for artifact in artifacts
            for signature in artifact.signatures
        )
    )
    return enumerate(taken)


def _count(digest: Any, number: int, batch: Batch) -> None:
    digest.update(f"{number}\0{batch.signature}\0{content_hash(batch.inputs)}\0".encode())


def _write(archive: zipfile.ZipFile, name: str, array: Any) -> None:
    # A ZipInfo of its own has no time in it: the same cases are the same bytes.
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _text(path: Path, name: str, array: Any) -> str:
    if array is None or array.shape != () or array.dtype.kind not in "SU":
        raise SamplesError(
            f"{path} is not a recording: it has no text {name!r} (docs/how-to/run-on-a-device.md has the format)"
        )
    value = array.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _outputs(path: Path, arrays: Arrays) -> dict[tuple[int, str], Arrays]:
    """Outputs by the number and signature of their case."""
    outputs: dict[tuple[int, str], Arrays] = defaultdict(dict)
    for key, array in arrays.items():
        parts = _OUTPUT.fullmatch(key)
        if parts is None:
            raise SamplesError(f"{path} contains {key!r}; outputs are named NUMBER/SIGNATURE/OUTPUT")
        outputs[int(parts[1]), parts[2]][parts[3]] = array
    return outputs
