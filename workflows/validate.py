"""`validate`: every artifact of an export against its original, in every runtime."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from attnexport.core.errors import ArgumentError, StorageError
from attnexport.core.progress import Progress, silent
from attnexport.parity.limits import Limits

from .node_data import check_node_data, errors, write_node_data
from .validation_result import CasesResult, ValidationResult
from .versions import open_export

if TYPE_CHECKING:
    from attnexport.core.samples import SampleSource
    from attnexport.store import ExportDirectory, VersionEntry

__all__ = ["Limits", "validate", "write_cases"]


def validate(
    export: str | Path,
    *,
    version: int | None = None,
    evaluation: SampleSource | None = None,
    imports: Sequence[str] = (),
    trust: bool = False,
    server: str | None = None,
    model: str | None = None,
    serve: bool | str = False,
    limits: Limits | None = None,
    labels_for: str | None = None,
    layers: bool = False,
    recorded: Sequence[str | Path] = (),
    html: bool | str | Path = False,
    node_data: str | Path | None = None,
    against: int | None = None,
    digest: str | Path | None = None,
    write_digest: bool | str | Path = False,
    progress: Progress = silent,
) -> ValidationResult:
    """Compare every artifact of an export with its original.

    Each signature of the SavedModel (in a session, as TF Serving runs it, and eagerly) and of the .tflite files (in the
    interpreter and in CompiledModel) is run on the evaluation samples and on edge cases: zeros, ones, large and tiny
    magnitudes, odd batches. The verdicts are recorded in the export's manifest.

    Args:
        export: Path of the export directory.
        version: The version to validate; the newest if None.
        evaluation: Samples to compare on: a path, or arrays `[n, ...]` by input name, with `labels [n]` or without;
            seeded synthetic samples if None.
        imports: Modules that register custom layers.
        trust: Import the modules that the export names, even if it was made elsewhere.
        server: Address, `HOST:PORT`, of a server that serves the version's SavedModel, to compare as well.
        model: Name the server serves it under; the export's name if None.
        serve: Also compare over gRPC, served by the embedded server: True starts one meanwhile, `HOST:PORT` is one that
            serves the export already.
        limits: Limits beside and in place of the precisions' budgets.
        labels_for: The output that labels are of; the one whose classes they fit if None.
        layers: Also find which tensor inside each .tflite loses how many decibels.
        recorded: Files with the outputs that a device recorded for `write_cases`, to compare as well.
        html: Write an HTML report: True to `report/VERSION.html` in the export, a path to that file.
        node_data: A .json file to write the errors inside each .tflite to, for Model Explorer to colour its graph with;
            of several files each has its recipe in the name.
        against: Another version, whose artifacts and last figures are put beside this one's.
        digest: What the version must be, byte for byte: the file that `write_digest` wrote, or its `sha256:...`.
        write_digest: If the version passes, write the hashes of all of its files: True to `digest/VERSION.sha256` in
            the export, a path to that file.
        progress: Called with what is being done, and how many batches are compared.

    Returns:
        The verdicts: true if every check passed.

    Raises:
        ArgumentError: An argument is invalid, or a file does not exist.
        GateError: An artifact was changed since it was exported.
        ContentError: An artifact, the samples or a recording cannot be used.
        ServingError: A server is unreachable, or refuses a call.

    Example:
        >>> try:
        ...     validate("nowhere")
        ... except ArgumentError as error:
        ...     print(error)
        export nowhere does not exist
    """
    limits = limits or Limits()
    directory, entry = open_export(export, version)
    _check_arguments(evaluation, recorded, limits)
    if digest is not None:
        _check_digest(directory, entry, digest, progress)
    from .report import report_path

    nodes = check_node_data(node_data)
    other = None if against is None else directory.manifest().entry(against)
    report = None if html is False else report_path(None if html is True else Path(html), directory, entry)
    progress("loading TensorFlow")
    from attnexport.store.trust import trusting

    from .validation_run import run_validation

    with trusting(trust):
        result, text = run_validation(
            directory,
            entry,
            evaluation=evaluation,
            imports=imports,
            server=server,
            model=model or directory.name,
            serve=serve,
            limits=limits,
            labels_for=labels_for,
            layers=layers or nodes is not None,
            recorded=[Path(each) for each in recorded],
            report=report,
            progress=progress,
            against=other,
        )
    if nodes is not None and result.layers is not None:
        written = write_node_data(nodes, errors(result.layers))
        notes = tuple(f"{path} colours the graph of its .tflite in Model Explorer" for path in written)
        result = replace(result, layers=result.layers if layers else None, notes=(*result.notes, *notes))
    if write_digest is not False and result:
        result = _write_digest(result, directory, entry, None if write_digest is True else Path(write_digest))
    if report is None:
        return result
    from .report import write_report

    try:
        write_report(report, text)
    except StorageError as error:  # the verdicts stand
        return replace(result, report_error=error)
    return replace(result, report=report)


def write_cases(
    export: str | Path,
    path: str | Path,
    *,
    version: int | None = None,
    evaluation: SampleSource | None = None,
    imports: Sequence[str] = (),
    trust: bool = False,
    progress: Progress = silent,
) -> CasesResult:
    """Write the inputs that `validate` compares on, for a device to run its .tflite on; nothing is compared.

    Args:
        export: Path of the export directory.
        path: The .npz file to write.
        version: The version; the newest if None.
        evaluation: Samples, as in `validate`.
        imports: Modules that register custom layers.
        trust: Import the modules that the export names, even if it was made elsewhere.
        progress: Called with what is being done.

    Raises:
        ArgumentError: An argument is invalid, or the version has no .tflite.
        GateError: An artifact was changed since it was exported.
        SamplesError: The samples do not fit.
        StorageError: The file cannot be written.

    Example:
        >>> try:
        ...     write_cases("nowhere", "cases.npz")
        ... except ArgumentError as error:
        ...     print(error)
        export nowhere does not exist
    """
    directory, entry = open_export(export, version)
    _check_arguments(evaluation, (), Limits())
    from attnexport.store.trust import trusting

    with trusting(trust), ExitStack() as stack:
        progress("loading TensorFlow")
        from .device_cases import device_artifacts, device_batches, write_batches
        from .validation_data import open_compared

        artifacts = device_artifacts(entry)
        compared = open_compared(directory, entry, evaluation, imports, Limits(), stack, progress)
        progress("writing cases")
        count = write_batches(Path(path), artifacts, device_batches(compared.original, compared.data, artifacts))
    paths = tuple(each.path for each in artifacts)
    return CasesResult(directory.name, entry.version, Path(path), count, paths, compared.notes)


def _check_digest(directory: ExportDirectory, entry: VersionEntry, digest: str | Path, progress: Progress) -> None:
    from attnexport.store.digest import PREFIX, check_digest

    if not str(digest).startswith(PREFIX) and not Path(digest).exists():
        raise ArgumentError(f"digest {digest} does not exist; give a file that --write-digest wrote, or {PREFIX}HEX")
    progress("comparing the digest")
    check_digest(directory.root, entry, digest)


def _write_digest(
    result: ValidationResult, directory: ExportDirectory, entry: VersionEntry, path: Path | None
) -> ValidationResult:
    from attnexport.core.os_errors import writing
    from attnexport.store.digest import short_digest, version_digest
    from attnexport.store.files import make_directories, write_atomically

    path = path or directory.root / "digest" / f"{entry.version}.sha256"
    text = version_digest(directory.root, entry)
    with writing(path):
        make_directories(path.parent)
        write_atomically(path, text)
    return replace(result, digest=path, digest_hash=short_digest(text))


def _check_arguments(evaluation: SampleSource | None, recorded: Sequence[str | Path], limits: Limits) -> None:
    """Refuse what the arguments alone show, before TensorFlow is loaded."""
    if isinstance(evaluation, str | Path) and not Path(evaluation).exists():
        raise ArgumentError(f"samples {evaluation} do not exist")
    if evaluation is None and limits.max_accuracy_drop is not None:
        raise ArgumentError("max_accuracy_drop needs evaluation samples with 'labels'")
    for recording in recorded:
        if not Path(recording).exists():
            raise ArgumentError(f"recording {recording} does not exist")
