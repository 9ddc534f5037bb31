"""The tensors inside a version's .tflite files: which one loses the decibels, and the attention weights."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attnexport.core import DEFAULT_SIGNATURE, Arrays, AttnexportError, ModelError, Signature
from attnexport.core.errors import first_line
from attnexport.core.signature import Shape, fits
from attnexport.exporter import ModelSource
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
from attnexport.tflite.runner import read_file
from attnexport.tflite.tracer import TFLiteTracer

from .result import Block, Line, Table

_SAMPLES = 8  # all tensors of so many are held at once
_MIN_SHOWN_DB = 0.1  # losses below are left blank
_MAX_NAMED = 5  # tensors in a note
_TITLES = ("layer", "tensor", "SQNR", "max error", "lost", "--keep-float")
_SCALED = 1e-3  # a scale factor is as good as 1 below this difference


@dataclass(frozen=True)
class Inside:
    """The tensors inside the .tflite files of a version.

    Attributes:
        layers: Layers by artifact, in the original's order of computation.
        losses: What each of them loses, in dB, as `parity.layers.losses` gives it.
        maps: Attention weights of the first sample, the original's first.
        notes: What could not be compared, a sentence each.
    """

    layers: tuple[LayerCheck, ...] = ()
    losses: tuple[float, ...] = ()
    maps: tuple[AttentionMap, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> list[dict[str, Any]]:
        """The layers as JSON values; an infinite figure is null."""
        pairs = zip(self.layers, self.losses, strict=True)
        return [finite_json({**asdict(check), "lost_db": loss}) for check, loss in pairs]

    def blocks(self) -> list[Block]:
        """A table for each artifact, in order of computation, with what each tensor loses."""
        by_artifact: dict[str, list[tuple[LayerCheck, float]]] = {}
        for check, loss in zip(self.layers, self.losses, strict=True):
            by_artifact.setdefault(check.artifact, []).append((check, loss))
        blocks: list[Block] = []
        for artifact, pairs in by_artifact.items():
            checks = [check for check, _ in pairs]
            greatest = max((loss for _, loss in pairs if loss < float("inf")), default=0.0)
            rows = [
                (
                    *(check.layer, check.role, decibels(check.sqnr_db), error(check.max_error)),
                    _loss_text(loss, greatest),
                    keep_float_pattern(check, checks) if loss >= _MIN_SHOWN_DB else "",
                )
                for check, loss in pairs
            ]
            blocks += [f"\ninside {artifact}\n", Table(_TITLES, rows, ("SQNR", "max error"))]
            costliest = next((check for check, loss in pairs if loss == greatest >= _MIN_SHOWN_DB), None)
            recipe = Path(artifact).name.removesuffix(".tflite").rpartition(".")[2]
            if costliest is not None and recipe not in ("float32", "float16"):
                pattern = shlex.quote(keep_float_pattern(costliest, checks))
                blocks += [
                    f"\nTo keep {costliest.layer} in float32, which loses the most:",
                    Line(f"  attnexport tflite EXPORT -q {recipe} --keep-float {pattern} --calibration FILE --force"),
                ]
        return blocks


def keep_float_pattern(check: LayerCheck, others: Sequence[LayerCheck]) -> str:
    """A regular expression that `--keep-float` takes for the tensor of a check, and for no other layer's.

    The layer's own path if its tensors have it in their names and no other's have; else the whole name.
    """
    path = re.escape(check.layer)
    elsewhere = any(re.search(path, each.tensor) for each in others if each.layer != check.layer)
    if re.search(path, check.tensor) and not elsewhere:
        return path
    return re.escape(check.tensor)


def _loss_text(loss: float, greatest: float) -> str:
    if loss == float("inf"):
        return "first to differ"
    if loss < _MIN_SHOWN_DB:
        return ""
    return f"{loss:.1f} dB{', the most' if loss == greatest else ''}"


def look_inside(directory: ExportDirectory, entry: VersionEntry, original: ModelSource, samples: Arrays) -> Inside:
    """Compare the tensors that `serving_default` computes in Keras and in each .tflite of a version.

    Args:
        directory: The export.
        entry: The version.
        original: Its original, in float32.
        samples: Arrays `[n, ...]` by exported input name; the first few are run, and attention is shown for the first.

    Returns:
        The tensors, and notes on what could not be compared: a SavedModel has no layers.
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
        return Inside(notes=("the model has no layers to look into: it computes everything itself",))
    parts = [_original(traced)]
    others = [each for each in artifacts if not _takes(each, few)]
    for each in others:
        reason = f"it has no signature {DEFAULT_SIGNATURE!r} with the inputs of the original"
        parts.append(Inside(notes=(f"{each.path} cannot be looked into: {reason}",)))
    for alike in _alike([each for each in artifacts if each not in others]):
        try:
            parts.append(_look(directory, alike, original, few, traced))
        except AttnexportError as error:
            paths = ", ".join(each.path for each in alike)
            parts.append(Inside(notes=(f"{paths} cannot be looked into: {first_line(error)}",)))
    return Inside(
        tuple(check for each in parts for check in each.layers),
        tuple(loss for each in parts for loss in each.losses),
        tuple(shown for each in parts for shown in each.maps),
        tuple(note for each in parts for note in each.notes),
    )


def _original(traced: Arrays) -> Inside:
    """The attention of the original."""
    return Inside(maps=attention_maps("Keras", traced))


def _alike(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
    """Artifacts grouped by what they were quantized from: same signatures and shapes, one float32 form."""
    groups: dict[tuple[object, ...], list[Artifact]] = {}
    for each in artifacts:
        shapes = tuple((spec.name, spec.shape) for spec in _default(each).inputs)
        groups.setdefault((shapes, *(signature.name for signature in each.signatures)), []).append(each)
    return list(groups.values())


def _default(artifact: Artifact) -> Signature:
    return next(each for each in artifact.signatures if each.name == DEFAULT_SIGNATURE)


def _takes(artifact: Artifact, inputs: Arrays) -> bool:
    """Whether an artifact has a `serving_default`, and these inputs suffice for it."""
    return any(
        {spec.name for spec in each.inputs} <= inputs.keys()
        for each in artifact.signatures
        if each.name == DEFAULT_SIGNATURE
    )


def _look(
    directory: ExportDirectory,
    artifacts: Sequence[Artifact],
    original: ModelSource,
    samples: Arrays,
    traced: Arrays,
) -> Inside:
    """Look into artifacts that have one float32 form."""
    for spec in _default(artifacts[0]).inputs:
        if spec.shape is not None and not fits(samples[spec.name].shape[1:], spec.shape[1:]):
            raise ModelError(f"the samples do not have the shape of {spec}")
    last = next(reversed(traced))
    for content in _float32_forms(directory, artifacts, original):
        with closing(TFLiteTracer(content)) as tracer:
            matches, sources = match(traced, tracer.trace(samples)), tracer.sources()
        # Nothing scales the output: if it is scaled or missing, the file is broken.
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
            notes.append(f"{artifact.path}: none of its tensor names match the float32 model; convert it again")
        layers += checks
        lost += losses(checks, sources)
        maps += attention_maps(artifact.path, placed)
    return Inside(tuple(layers), tuple(lost), tuple(maps), tuple(notes))


def _unmatched(traced: Arrays, matches: Mapping[str, Match]) -> list[str]:
    missing = [name for name in traced if name not in matches]
    if not missing:
        return []
    names = ", ".join(missing[:_MAX_NAMED]) + (", …" if len(missing) > _MAX_NAMED else "")
    return [f"{len(missing)} of {len(traced)} tensors of the original are not in the .tflite: {names}"]


def _float32_forms(directory: ExportDirectory, artifacts: Sequence[Artifact], original: ModelSource) -> Iterator[bytes]:
    """What artifacts were quantized from: a float32 one among them, then one that is converted anew.

    Only the first surely has the tensor names of the artifacts; another converter may give other names.
    """
    for each in artifacts:
        if each.precision == "float32":
            yield read_file(directory.root / each.path)
    fixed = _default(artifacts[0])
    names = [each.name for each in artifacts[0].signatures]
    fit = original.in_float32(shapes=_sizes(original, fixed))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "saved_model"
        batch = fixed.fixed_batch if fit.signatures[fixed.name].fixed_batch is None else None
        written = fit.write_fixed(path, names, batch)
        content = convert_float(path, tuple(written))
    yield content


def _sizes(original: ModelSource, fixed: Signature) -> dict[str, Shape]:
    """The sizes that an artifact fixes, apart from the batch, by the original's inputs."""
    known = {spec.name for spec in original.inputs}
    return {spec.name: (None, *spec.shape[1:]) for spec in fixed.inputs if spec.shape and spec.name in known}
