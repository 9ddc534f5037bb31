"""A look inside a version's .tflite files: which tensor loses the decibels, and what attention attends to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core import DEFAULT_SIGNATURE, Arrays, AttnexportError, ModelError, Signature
from attnexport.core.errors import first_line
from attnexport.core.signature import fits
from attnexport.exporter import LoadedModel, Original, open_original
from attnexport.parity.figures import decibels, error, finite_json
from attnexport.parity.layers import (
    AttentionMap,
    LayerCheck,
    Match,
    attention_maps,
    compare_layers,
    in_place_of,
    losses,
    match,
)
from attnexport.store import Artifact, ExportDirectory, VersionEntry
from attnexport.tflite.float_model import convert_float
from attnexport.tflite.tracer import TFLiteTracer

if TYPE_CHECKING:
    from rich.console import Console

_SAMPLES = 8  # all tensors of so many are held at once
_WORTH_TELLING = 0.1  # dB
_MOST_NAMED = 5
_SCALED = 1e-3  # a scale factor is as good as 1 below this difference


@dataclass(frozen=True)
class Inside:
    """What is inside the .tflite files of a version.

    Attributes:
        layers: By artifact, and in the original's order of computation.
        losses: To each of them, as `parity.layers.losses` gives them.
        maps: Of the first sample, the original's first.
        notes: What could not be looked into, a sentence each.
    """

    layers: tuple[LayerCheck, ...] = ()
    losses: tuple[float, ...] = ()
    maps: tuple[AttentionMap, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> list[dict[str, Any]]:
        """The layers as JSON values; an infinite figure is null."""
        pairs = zip(self.layers, self.losses, strict=True)
        return [finite_json({**asdict(check), "lost_db": loss}) for check, loss in pairs]


def look_inside(
    directory: ExportDirectory, entry: VersionEntry, loaded: LoadedModel, original: Original, samples: Arrays
) -> Inside:
    """Compare what `serving_default` computes on its way in Keras and in each .tflite of a version.

    Args:
        directory: The export.
        entry: The version.
        loaded: What `open_version` gives for it.
        original: What `open_original` gives for that.
        samples: Arrays `[n, ...]` by exported input name, of which the first few are run; attention is shown of the
            first.

    Returns:
        What was found, and notes on what could not be looked into: a SavedModel has no layers to compare with.
    """
    artifacts = [each for each in entry.artifacts if each.kind == "tflite"]
    if not artifacts:
        return Inside(notes=(f"version {entry.version} has no .tflite to look into",))
    if original.tracer is None:
        return Inside(notes=(f"version {entry.version} was made from a SavedModel, which has no layers to look into",))
    few = {name: array[:_SAMPLES] for name, array in samples.items()}
    try:
        traced = original.tracer.trace(few)
    except AttnexportError as error:
        return Inside(notes=(f"the original cannot be looked into: {first_line(error)}",))
    if not traced:
        return Inside(notes=("there are no layers to look into: the model computes all by itself",))
    found = [_first(traced)]
    for alike in _alike(artifacts):
        try:
            found.append(_look(directory, alike, loaded, original, few, traced))
        except AttnexportError as error:
            paths = ", ".join(each.path for each in alike)
            found.append(Inside(notes=(f"{paths} cannot be looked into: {first_line(error)}",)))
    return Inside(
        tuple(check for each in found for check in each.layers),
        tuple(loss for each in found for loss in each.losses),
        tuple(shown for each in found for shown in each.maps),
        tuple(note for each in found for note in each.notes),
    )


def show_layers(console: Console, inside: Inside) -> None:
    """Print a table for each artifact, in order of computation, with what each tensor loses."""
    from rich.table import Table
    from rich.text import Text

    rows: dict[str, list[tuple[LayerCheck, float]]] = {}
    for check, loss in zip(inside.layers, inside.losses, strict=True):
        rows.setdefault(check.artifact, []).append((check, loss))
    for artifact, checks in rows.items():
        console.print(Text(f"\ninside {artifact}\n"))
        table = Table(box=None, pad_edge=False)
        for title in ("layer", "tensor", "SQNR", "max error", "lost"):
            table.add_column(title, overflow="fold")
        most = max((loss for _, loss in checks if loss < float("inf")), default=0.0)
        for check, loss in checks:
            figures = decibels(check.sqnr_db), error(check.max_error)
            table.add_row(*map(Text, (check.layer, check.role, *figures, _told(loss, most))))
        console.print(table)


def _told(loss: float, most: float) -> str:
    if loss == float("inf"):
        return "first to differ"
    if loss < _WORTH_TELLING:
        return ""
    return f"{loss:.1f} dB{', the most' if loss == most else ''}"


def _first(traced: Arrays) -> Inside:
    """The original's own part."""
    return Inside(maps=attention_maps("Keras", traced))


def _alike(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
    """Artifacts by what they were quantized from: those of the same signatures and shapes have one float32 form."""
    groups: dict[tuple[object, ...], list[Artifact]] = {}
    for each in artifacts:
        shapes = tuple((spec.name, spec.shape) for spec in _default(each).inputs)
        groups.setdefault((shapes, *(signature.name for signature in each.signatures)), []).append(each)
    return list(groups.values())


def _default(artifact: Artifact) -> Signature:
    return next(each for each in artifact.signatures if each.name == DEFAULT_SIGNATURE)


def _look(
    directory: ExportDirectory,
    artifacts: Sequence[Artifact],
    loaded: LoadedModel,
    original: Original,
    samples: Arrays,
    traced: Arrays,
) -> Inside:
    """Look into artifacts that have one float32 form."""
    for spec in _default(artifacts[0]).inputs:
        if spec.shape is not None and not fits(samples[spec.name].shape[1:], spec.shape[1:]):
            raise ModelError(f"the samples are of another shape than {spec}")
    last = next(reversed(traced))
    for content in _float32_forms(directory, artifacts, loaded, original):
        with closing(TFLiteTracer(content)) as tracer:
            matches, sources = match(traced, tracer.trace(samples)), tracer.sources()
        # Nobody scales the output: where it is scaled, or not found, the file is broken.
        if last in matches and abs(matches[last].scale - 1) < _SCALED:
            break
    layers: list[LayerCheck] = []
    lost: list[float] = []
    maps: list[AttentionMap] = []
    notes = _unmatched(traced, matches)
    for artifact in artifacts:
        with closing(TFLiteTracer(directory.root / artifact.path)) as tracer:
            placed = in_place_of(traced, tracer.trace(samples), matches)
        checks = compare_layers(artifact.path, traced, placed, matches)
        if not checks:
            notes.append(f"{artifact.path} has no tensor of the name of one that was matched: convert it again")
        layers += checks
        lost += losses(checks, sources)
        maps += attention_maps(artifact.path, placed)
    return Inside(tuple(layers), tuple(lost), tuple(maps), tuple(notes))


def _unmatched(traced: Arrays, matches: Mapping[str, Match]) -> list[str]:
    missing = [name for name in traced if name not in matches]
    if not missing:
        return []
    told = ", ".join(missing[:_MOST_NAMED]) + (", …" if len(missing) > _MOST_NAMED else "")
    return [f"{len(missing)} of {len(traced)} tensors of the original are no tensor of the .tflite's: {told}"]


def _float32_forms(
    directory: ExportDirectory, artifacts: Sequence[Artifact], loaded: LoadedModel, original: Original
) -> Iterator[bytes]:
    """What artifacts were quantized from: the one among them that is float32, then one made anew.

    The names of its tensors are those of the artifacts for sure; another converter may give others.
    """
    for each in artifacts:
        if each.precision == "float32":
            yield (directory.root / each.path).read_bytes()
    fixed = _default(artifacts[0])
    names = [each.name for each in artifacts[0].signatures]
    with (
        tempfile.TemporaryDirectory() as temporary,
        closing(open_original(loaded, steps=_steps(original, fixed))) as fit,
    ):
        if fit.write_fixed is None:
            raise ModelError("there is no Keras original to make its float32 form of")
        path = Path(temporary) / "saved_model"
        written = fit.write_fixed(
            path, names, fixed.fixed_batch if fit.signatures[fixed.name].fixed_batch is None else None
        )
        content = convert_float(path, tuple(written))
    yield content


def _steps(original: Original, fixed: Signature) -> int | None:
    """What steps an artifact has fixed that are free in its original."""
    shapes = {spec.name: spec.shape for spec in fixed.inputs}
    for spec in original.inputs:
        shape = shapes.get(spec.name)
        if spec.shape is not None and shape is not None and len(spec.shape) > 1 and spec.shape[1] is None:
            return shape[1]
    return None
