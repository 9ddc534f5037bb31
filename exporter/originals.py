"""The original of a version: what its artifacts are made from and held against."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attnexport.core.errors import ArgumentError
from attnexport.core.runner import Runner
from attnexport.core.samples import synthetic_samples
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature, TensorSpec
from attnexport.core.tracer import Tracer
from attnexport.store.export_directory import ExportDirectory
from attnexport.store.manifest import VersionEntry

from .endpoint import TracedEndpoint, trace
from .endpoints import model_endpoints
from .model_inputs import fix_size, model_inputs
from .models import LoadedModel
from .models.float32 import OTHER_FLOATS, in_float32
from .models.traits import computes_in, integers_below
from .runners import KerasRunner, SavedModelRunner
from .saved_model import write_saved_model
from .tracer import KerasTracer

_TRIED = 16  # samples on which `classify` tries what the model gives

Feed = Callable[[Arrays], Arrays]
WriteFixed = Callable[[Path, Sequence[str], int | None], dict[str, Signature]]


@dataclass(frozen=True)
class Original:
    """An original, ready to be converted and compared with.

    Attributes:
        reference: Runs it.
        reference_name: What it is called in verdicts.
        signatures: What it offers, by name; steps fixed where that was asked for.
        feeds: By signature, how the inputs of `serving_default` become its own; one without takes inputs of its own.
        names: Exported input name to Keras name, where they differ.
        integers_below: Made up integers must be less than this; None where no vocabulary bounds them.
        saved_model: The SavedModel, where there is no Keras model.
        write_fixed: Writes signatures with their batch fixed as a SavedModel, for TFLite's converter, and returns
            them as written; None where there is no Keras model.
        narrow: Runs the model as it was before it was built again in float32, None where it was not.
        tracer: Shows what it computes on its way; None where there is no Keras model.
    """

    reference: Runner
    reference_name: str
    signatures: Mapping[str, Signature]
    feeds: Mapping[str, Feed]
    names: Mapping[str, str]
    integers_below: int | None = None
    saved_model: Path | None = None
    write_fixed: WriteFixed | None = None
    narrow: Runner | None = None
    tracer: Tracer | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What samples are for: the inputs of `serving_default`."""
        return self.signatures[DEFAULT_SIGNATURE].inputs

    def close(self) -> None:
        """Free its Runners."""
        self.reference.close()
        if self.narrow:
            self.narrow.close()


def find_version(directory: ExportDirectory, loaded: LoadedModel) -> VersionEntry | None:
    """The newest version of an export that is of this very model, None where there is none."""
    versions = directory.manifest().versions
    return next((each for each in reversed(versions) if is_of(directory, each, loaded)), None)


def open_original(
    loaded: LoadedModel, *, steps: int | None = None, classify: bool = False, labels: Sequence[str] | None = None
) -> Original:
    """Open an original.

    Args:
        loaded: A model, or a SavedModel.
        steps: Fix free steps to this.
        classify: Offer the signature `classify`, too, where the model can.
        labels: The classes' names, for `classify`.

    Raises:
        ArgumentError: where its steps cannot be that, or it has no `serving_default`.
        ModelError: where it cannot be traced, or does not load.
    """
    if loaded.saved_model is not None:
        return _open_saved_model(loaded.saved_model)
    model, narrow = loaded.model, None
    if computes_in(model) & OTHER_FLOATS:
        narrow = keras_runner(loaded, steps=steps)
        model = in_float32(model)
    inputs = model_inputs(model, loaded.input_names, steps=steps)
    samples = None
    if classify:
        samples = synthetic_samples(inputs.specs, _TRIED, integers_below=integers_below(model)).inputs
    endpoints = model_endpoints(inputs, loaded.output_names, labels if classify else None, samples)
    runner = KerasRunner(endpoints)

    def write_fixed(path: Path, names: Sequence[str], batch: int | None) -> dict[str, Signature]:
        chosen = [_fixed(each, batch) for each in endpoints if each.endpoint.name in names]
        write_saved_model(path, model, chosen)
        return {each.endpoint.name: each.signature for each in chosen}

    return Original(
        runner,
        "Keras",
        runner.signatures,
        {each.endpoint.name: each.endpoint.feed for each in endpoints if each.endpoint.feed},
        {new: old for new, old in inputs.keras_names.items() if new != old},
        integers_below(model),
        write_fixed=write_fixed,
        narrow=narrow,
        tracer=KerasTracer(inputs),
    )


def keras_runner(loaded: LoadedModel, *, steps: int | None = None) -> KerasRunner:
    """Runs a Keras model as it is, in the precision that it computes in."""
    inputs = model_inputs(loaded.model, loaded.input_names, steps=steps)
    return KerasRunner(model_endpoints(inputs, loaded.output_names))


def is_of(directory: ExportDirectory, entry: VersionEntry, loaded: LoadedModel) -> bool:
    """Whether a version is of this very model, as far as that can be told: a factory's models all differ."""
    root = directory.root
    keras, saved_model = entry.artifact("keras"), entry.artifact("saved_model")
    if loaded.keras_file:
        return keras is not None and _same(loaded.keras_file, root / keras.path)
    if loaded.saved_model:
        return keras is None and saved_model is not None and _same(loaded.saved_model, root / saved_model.path)
    # A preset is seeded; what a factory or the caller made may differ each time.
    told = {key: value for key, value in entry.source.items() if key != "labels"}
    return loaded.source["kind"] == "preset" and told == {**loaded.source, "imports": list(loaded.imports)}


def _same(source: Path, kept: Path) -> bool:
    """Whether a file is kept unchanged, or all of a directory's, apart from warm-up records."""
    if source.is_file():
        return kept.is_file() and filecmp.cmp(source, kept, shallow=False)
    files = [each for each in source.rglob("*") if each.is_file() and "assets.extra" not in each.parts]
    return all(_same(each, kept / each.relative_to(source)) for each in files)


def _open_saved_model(path: Path) -> Original:
    runner = SavedModelRunner(path)
    if DEFAULT_SIGNATURE not in runner.signatures:
        runner.close()
        raise ArgumentError(f"{path} has no signature {DEFAULT_SIGNATURE!r}; it has {', '.join(runner.signatures)}")
    inputs = set(runner.signatures[DEFAULT_SIGNATURE].inputs)
    feeds: dict[str, Feed] = {name: dict for name, each in runner.signatures.items() if set(each.inputs) == inputs}
    return Original(runner, "the SavedModel in a session", runner.signatures, feeds, {}, saved_model=path)


def _fixed(traced: TracedEndpoint, batch: int | None) -> TracedEndpoint:
    specs = traced.endpoint.inputs
    return traced if batch is None else trace(replace(traced.endpoint, inputs=fix_size(specs, 0, "batch", batch)))
