"""What every recipe starts from: a float32 .tflite, its statistics, and samples with the original's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from attnexport.core.batches import fill_batch
from attnexport.core.errors import ArgumentError, ModelError
from attnexport.core.progress import Progress, silent
from attnexport.core.runner import Runner, batched
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature
from attnexport.parity import Case

from .calibration import Calibration
from .candidates import MAX_MEASURED
from .fitted_weights import WeightFitter
from .float_core import unmatched
from .float_model import check_convertible, convert_float
from .graph import Graph, read_graph
from .layer_inputs import collect_layer_inputs
from .metadata import add_metadata
from .options import ConversionOptions
from .recipes import RECIPES, Recipe
from .recipes.recipe import FITTED
from .statistics import Statistics, collect_statistics

_MAX_COMPARED = 256  # held-out samples that the gate compares


@dataclass(frozen=True)
class Prepared:
    """A float32 .tflite with everything that quantizing and comparing it needs.

    Attributes:
        model: The float32 .tflite.
        graph: Its contents.
        calibration: Samples to calibrate with, and others held out.
        reference: Runs the original.
        signatures: The converted signatures by name, with fixed batch and steps.
        cases: Held-out samples of each signature, with the original's outputs.
        options: The options of the conversion.
        progress: Called with what is being done now.
    """

    model: bytes
    graph: Graph
    calibration: Calibration
    reference: Runner
    signatures: Mapping[str, Signature]
    cases: tuple[Case, ...]
    options: ConversionOptions = field(default_factory=ConversionOptions)
    progress: Progress = field(default=silent, repr=False)

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of every activation, from one pass over the calibration samples at the first use."""
        self.progress(f"calibrating on {len(self.calibration)} samples")
        return collect_statistics(self.model, self._calibration_inputs(), len(self.calibration), self.graph)

    @cached_property
    def float_size_bytes(self) -> int:
        """Size of the float32 file, with what is written into it."""
        metadata = self.options.metadata
        return len(self.model if metadata is None else add_metadata(self.model, metadata, self.graph))

    @cached_property
    def fitter(self) -> WeightFitter:
        """Fits weights to the inputs of their layers, from one more pass at the first use."""
        self.progress(f"reading the inputs of dense layers on {len(self.calibration)} samples")
        inputs = collect_layer_inputs(self.model, self.graph, self._calibration_inputs(), len(self.calibration))
        return WeightFitter(self.model, self.graph, inputs)

    def fitter_for(self, recipe: Recipe) -> WeightFitter | None:
        """The fitter, if a recipe needs it, or may use it and the samples are the user's."""
        algorithms = {*recipe.weight_algorithms, *(each.weight_algorithm for each in recipe.layers)}
        is_wanted = FITTED in algorithms and (recipe.needs_samples or self.calibration.given)
        return self.fitter if is_wanted and not self.graph.flex_operators else None

    @property
    def few_cases(self) -> list[Case]:
        """The cases with as many samples as ways to quantize are measured on."""
        return [
            replace(
                case,
                inputs=first_samples(case.inputs, MAX_MEASURED),
                expected=first_samples(case.expected or {}, MAX_MEASURED),
            )
            for case in self.cases
        ]

    @cached_property
    def cases_of_ranges(self) -> list[Case]:
        """The cases on which ways to find ranges are measured: samples of the calibration as well, if few are held out.

        Two dozen samples choose by chance. What a range that cuts values off costs the samples that it was found on is
        about what it costs others.
        """
        few = self.few_cases
        missing = MAX_MEASURED - self.calibration.held_out_count
        if missing <= 0 or self.calibration.used is self.calibration.held_out:
            return few
        more = first_samples(self.calibration.used, missing)
        cases = []
        for case in few:
            fed = self.options.feeds.get(case.signature, dict)(more)
            inputs = {name: np.concatenate([array, fed[name]]) for name, array in case.inputs.items()}
            expected = batched(self.reference, inputs, signature=case.signature)
            cases.append(replace(case, inputs=inputs, expected=expected))
        return cases

    def _calibration_inputs(self) -> dict[str, Arrays]:
        samples = fill_batch(self.calibration.used, self.batch)
        return {name: self.options.feeds.get(name, dict)(samples) for name in self.signatures}

    @property
    def batch(self) -> int:
        """Samples in a call."""
        return next(iter(self.signatures.values())).fixed_batch or 1


def prepare_conversion(
    saved_model: Path,
    calibration: Calibration,
    *,
    reference: Runner,
    signatures: Mapping[str, Signature],
    options: ConversionOptions | None = None,
    progress: Progress = silent,
) -> Prepared:
    """Convert a SavedModel to float32, and run the original on the held-out samples.

    The arguments are those of `convert`, which calls this first.

    Raises:
        ArgumentError: for signatures that do not fit.
        ModelError: if the model cannot be converted.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> from attnexport.core import Samples
        >>> from attnexport.exporter import SavedModelRunner
        >>> from attnexport.tflite import RECIPES, fix_shapes, prepare_calibration
        >>> weights = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
        >>> layer = tf.function(lambda x: {"y": x @ weights}, [tf.TensorSpec((None, 16), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=layer)
        >>> original = SavedModelRunner(Path("model"))
        >>> signatures = fix_shapes(Path("model"), Path("fixed"), original.signatures, ["serving_default"])
        >>> samples = Samples({"x": np.random.default_rng(1).standard_normal((64, 16)).astype(np.float32)})
        >>> calibration = prepare_calibration(samples, signatures["serving_default"].inputs)
        >>> prepared = prepare_conversion(Path("fixed"), calibration, reference=original, signatures=signatures)
        >>> [operator.name for _, operator in prepared.graph.operators]
        ['FULLY_CONNECTED']
    """
    options = options or ConversionOptions()
    check_convertible(signatures, list(signatures))
    _check_inputs(signatures, calibration)
    progress("converting to float32")
    model = convert_float(saved_model, list(signatures), allow_flex=options.allow_flex)
    compared = first_samples(calibration.held_out, _MAX_COMPARED)
    count = len(next(iter(compared.values())))
    cases = []
    for name in signatures:
        inputs = options.feeds.get(name, dict)(compared)
        expected = batched(reference, inputs, signature=name)
        cases.append(Case(f"{count} {calibration.description}", inputs, name, expected))
    graph = read_graph(model)
    return Prepared(model, graph, calibration, reference, signatures, tuple(cases), options, progress)


def first_samples(inputs: Arrays, count: int) -> Arrays:
    """The first `count` samples."""
    return {name: array[:count] for name, array in inputs.items()}


def _check_inputs(signatures: Mapping[str, Signature], calibration: Calibration) -> None:
    for name, signature in signatures.items():
        names = {spec.name for spec in signature.inputs}
        if names != calibration.used.keys():
            raise ArgumentError(
                f"signature {name!r} takes {', '.join(sorted(names))}, and the calibration samples have "
                f"{', '.join(sorted(calibration.used))}; convert signatures with other inputs than "
                f"{DEFAULT_SIGNATURE}'s separately"
            )


def check_patterns(graph: Graph, recipes: Sequence[Recipe]) -> None:
    """Refuse patterns of the user's that match no operator; the lists of the named recipes are for all models.

    Raises:
        ModelError: naming the operators that exist.
    """
    for recipe in recipes:
        own = [each for each in recipe.keep_float if not any(each in known.keep_float for known in RECIPES.values())]
        for key, patterns in (("keep_float", own), ("layers", [rule.tensors for rule in recipe.layers])):
            if missing := unmatched(graph, patterns):
                operators = sorted({operator.name for _, operator in graph.operators})
                raise ModelError(
                    f"recipe {recipe.name!r}: {key} {missing[0]!r} matches no operator; there is {', '.join(operators)}"
                )
