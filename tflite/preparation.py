"""What every recipe starts from: the float32 .tflite of a model, statistics of it, and samples with right answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from attnexport.core.batches import fill_batch
from attnexport.core.errors import ArgumentError, ModelError
from attnexport.core.runner import Runner, batched
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature
from attnexport.parity import Case

from .calibration import Calibration
from .float_core import unmatched
from .float_model import check_convertible, convert_float
from .graph import Graph, read_graph
from .recipes import RECIPES, Recipe
from .statistics import Statistics, collect_statistics

_COMPARED = 256  # held-out samples that the gate compares


@dataclass(frozen=True)
class Prepared:
    """A float32 .tflite, and what it takes to quantize and to judge it.

    Attributes:
        model: The float32 .tflite.
        graph: What is in it.
        calibration: Samples to calibrate with, and others held out.
        reference: Runs the original.
        reference_name: What the original is called in verdicts.
        signatures: What was converted, by name, batch and steps fixed.
        cases: Of each signature, held-out samples with the original's answers.
        on_step: Called with what is being done now.
    """

    model: bytes
    graph: Graph
    calibration: Calibration
    reference: Runner
    reference_name: str
    signatures: Mapping[str, Signature]
    cases: tuple[Case, ...]
    on_step: Callable[[str], None] = field(default=lambda step: None, repr=False)

    @cached_property
    def statistics(self) -> Statistics:
        """Of every activation, in one pass over the calibration samples when they are first asked for."""
        self.on_step(f"calibrating on {len(self.calibration)} samples")
        samples = fill_batch(self.calibration.used, self.batch)
        return collect_statistics(self.model, dict.fromkeys(self.signatures, samples), len(self.calibration))

    @property
    def batch(self) -> int:
        """The samples of one call."""
        return next(iter(self.signatures.values())).fixed_batch or 1


def prepare_conversion(
    saved_model: Path,
    calibration: Calibration,
    *,
    reference: Runner,
    signatures: Mapping[str, Signature],
    reference_name: str = "Keras",
    allow_flex: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> Prepared:
    """Convert a SavedModel to float32, and ask the original what is right; as `convert`, which says more.

    Raises:
        ArgumentError: for signatures that do not fit.
        ModelError: where the model cannot be converted.
    """
    check_convertible(signatures, list(signatures))
    _check_inputs(signatures, calibration)
    on_step("converting to float32")
    model = convert_float(saved_model, list(signatures), allow_flex=allow_flex)
    compared = take(calibration.held_out, _COMPARED)
    count = len(next(iter(compared.values())))
    cases = tuple(
        Case(f"{count} {calibration.told}", compared, name, batched(reference, compared, signature=name))
        for name in signatures
    )
    return Prepared(model, read_graph(model), calibration, reference, reference_name, signatures, cases, on_step)


def take(inputs: Arrays, count: int) -> Arrays:
    """The first `count` samples."""
    return {name: array[:count] for name, array in inputs.items()}


def _check_inputs(signatures: Mapping[str, Signature], calibration: Calibration) -> None:
    for name, signature in signatures.items():
        names = {spec.name for spec in signature.inputs}
        if names != calibration.used.keys():
            raise ArgumentError(
                f"signature {name!r} takes {', '.join(sorted(names))}, and the calibration samples are of "
                f"{', '.join(sorted(calibration.used))}; convert signatures of other inputs than "
                f"{DEFAULT_SIGNATURE}'s by themselves"
            )


def check_patterns(graph: Graph, recipes: Sequence[Recipe]) -> None:
    """Refuse what the user wants to keep float and is not there; a recipe's own list is for all models.

    Raises:
        ModelError: naming the operators there are.
    """
    for recipe in recipes:
        own = [each for each in recipe.keep_float if not any(each in known.keep_float for known in RECIPES.values())]
        for key, patterns in (("keep_float", own), ("layers", [rule.tensors for rule in recipe.layers])):
            if missing := unmatched(graph, patterns):
                operators = sorted({operator.name for _, operator in graph.operators})
                raise ModelError(
                    f"recipe {recipe.name!r}: {key} {missing[0]!r} matches no operator; there is {', '.join(operators)}"
                )
