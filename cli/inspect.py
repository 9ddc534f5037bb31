"""`attnexport inspect`: what an artifact holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ContentError
from attnexport.workflows.sizes import kilobytes

from .command import command
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.exporter.inspection import KerasInspection, SavedModelInspection
    from attnexport.store import Manifest
    from attnexport.store.manifest import ValidationRecord
    from attnexport.tflite import TFLiteInspection
    from attnexport.tflite.inspection import SignatureInspection

Rows = list[tuple[str, str]]


@command("inspect", example="attnexport inspect export/classifier")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="A module that registers your layers.")
def inspect(terminal: Terminal, artifact: Path, imports: tuple[str, ...]) -> None:
    """Show what an artifact holds.

    ARTIFACT is a .tflite, a SavedModel directory, a .keras file or an export directory. Of a .tflite: its signatures,
    operators, sizes by type, and what the XNNPACK delegate makes of it.
    """
    from .artifacts import find_artifact

    found = find_artifact(artifact)
    with terminal.steps() as on_step:
        on_step(f"looking into {artifact}")
        document, rows = _INSPECTIONS[found.kind](found.path, (*found.imports, *imports))
    terminal.result(
        {"kind": found.kind, "path": str(artifact), **document}, lambda console: _show(console, artifact, rows)
    )


def _tflite(path: Path, imports: tuple[str, ...]) -> tuple[dict[str, Any], Rows]:
    from attnexport.tflite import inspect_tflite
    from attnexport.tflite.runner import read_file

    try:
        found = inspect_tflite(read_file(path))
    except ContentError as error:  # which speaks of content, not of where it came from
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    return asdict(found), _tflite_rows(found)


def _tflite_rows(found: TFLiteInspection) -> Rows:
    rows = [
        ("size", kilobytes(found.size_bytes)),
        ("constants", _sizes(found.constant_bytes)),
        ("runtime", f"TFLite {found.min_runtime_version} or later" if found.min_runtime_version else "not said"),
    ]
    for each in found.signatures:
        rows += [
            ("signature", str(each.signature)),
            *(
                ("quantized", f"{name}: scale {scale:.6g}, zero point {zero}")
                for name, (scale, zero) in each.quantization.items()
            ),
            ("operators", _counts(each.operators)),
            ("XNNPACK", _delegation(each)),
            ("activations", f"{kilobytes(each.activation_bytes)} at most at once"),
        ]
    return rows + [("advice", text) for text in found.advice]


def _delegation(found: SignatureInspection) -> str:
    if found.delegation is None:
        return f"cannot be told: {found.undelegated}"
    left = f", leaves {_counts(found.delegation.left)}" if found.delegation.left else ", leaves none"
    partitions = found.delegation.partitions
    return f"takes {found.delegation.taken} operators in {partitions} partition{'s' * (partitions != 1)}{left}"


def _saved_model(path: Path, imports: tuple[str, ...]) -> tuple[dict[str, Any], Rows]:
    from attnexport.exporter.inspection import inspect_saved_model

    found: SavedModelInspection = inspect_saved_model(path)
    rows = [
        ("size", kilobytes(found.size_bytes)),
        ("variables", _sizes(found.variable_bytes)),
        *[("signature", f"{each} ({each.method})") for each in found.signatures],
        ("operators", _counts(found.operators)),
        ("warm-up", f"{found.warmup_records} records"),
    ]
    return asdict(found), rows


def _keras(path: Path, imports: tuple[str, ...]) -> tuple[dict[str, Any], Rows]:
    from attnexport.exporter import load_model
    from attnexport.exporter.inspection import inspect_keras

    found: KerasInspection = inspect_keras(load_model(path, imports), path)
    rows = [
        ("size", kilobytes(found.size_bytes or 0)),
        ("model", found.name),
        *[("input", each) for each in found.inputs],
        *[("output", each) for each in found.outputs],
        ("layers", _counts(found.layers)),
        ("weights", _sizes(found.weight_bytes)),
        ("computes in", ", ".join(found.computes_in)),
    ]
    return asdict(found), rows


def _export(path: Path, imports: tuple[str, ...]) -> tuple[dict[str, Any], Rows]:
    from attnexport.store import ExportDirectory

    manifest: Manifest = ExportDirectory(path).manifest()
    rows: Rows = [("export", f"{manifest.name}, {len(manifest.versions)} version(s)")]
    for entry in manifest.versions:
        source = ", ".join(f"{key} {value}" for key, value in entry.source.items() if value not in (None, [], ""))
        rows += [(f"version {entry.version}", f"{entry.created}, from {source}")]
        for each in entry.artifacts:
            change = each.change(path)
            told = f", {change.upper()}" if change else ""
            rows.append((each.kind, f"{each.path} ({kilobytes(each.size_bytes)}){told}"))
            if each.validation is not None:
                rows.append(("", _verdict(each.validation)))
        # As they were exported: a .tflite has its batch fixed.
        signatures = {each.name: each for artifact in reversed(entry.artifacts) for each in artifact.signatures}
        rows += [("signature", str(signature)) for signature in signatures.values()]
    return asdict(manifest), rows


def _verdict(found: ValidationRecord) -> str:
    """The last validation, with its least SQNR."""
    from attnexport.parity.figures import decibels, worst
    from attnexport.parity.summary import recorded_figures

    figures = worst(each for check in found.checks if (each := recorded_figures(check)) is not None)
    figure = "" if figures is None else f", {'' if figures.is_equal else 'SQNR '}{decibels(figures.sqnr_db)}"
    runtimes = ", ".join(dict.fromkeys(check.runtime for check in found.checks))
    told = "passed" if found.passed else "FAILED"
    return f"{told} on {found.data.get('name')} ({runtimes}){figure}, {found.created}"


_INSPECTIONS = {"tflite": _tflite, "saved_model": _saved_model, "keras": _keras, "export": _export}


def _show(console: Console, artifact: Path, rows: Iterable[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    console.print(Text(f"{artifact}\n"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{dtype} {kilobytes(size)}" for dtype, size in sorted(sizes.items())) or "none"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
