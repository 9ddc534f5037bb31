"""The gate of a .tflite: what it must pass before it takes its final name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnexport.core.errors import AttnexportError, GateError, ParityError, one_of
from attnexport.core.runner import Runner
from attnexport.core.signature import Signature
from attnexport.parity import BUDGETS, Budget, Case, Verdict, compare

from .graph import CONVERSIONS, Graph, read_graph
from .probe import Probe, probe
from .recipes import Recipe

_VARIABLES = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
_LEAST_SHARE = 0.9  # of the weights that have the type which the recipe claims, where nothing of theirs is kept float
_FLOATS = {"float16", "float32"}


@dataclass(frozen=True)
class Passed:
    """What the gate found out about a file that passed."""

    verdict: Verdict
    probe: Probe
    graph: Graph


def gate_tflite(
    file: Path,
    recipe: Recipe,
    reference: Runner,
    cases: Sequence[Case],
    *,
    signatures: Mapping[str, Signature],
    reference_name: str = "Keras",
    allow_flex: bool = False,
    max_size: int | None = None,
) -> Passed:
    """Look into a .tflite, run it in a child process, and hold it against its original.

    Args:
        file: The .tflite.
        recipe: What it is said to be made by.
        reference: The original.
        cases: What is compared, on samples that it was not calibrated with.
        signatures: What must be there.
        reference_name: What the original is called.
        allow_flex: Whether it may hold Flex operators.
        max_size: The most bytes that it may have.

    Raises:
        GateError: where it is not what was asked for.
        ParityError: where only the numbers differ.
    """
    try:
        content = file.read_bytes()
        graph = read_graph(content)
        _check_operators(graph, allow_flex)
        _check_names(graph, signatures)
        check_recipe(graph, recipe)
        if max_size is not None and len(content) > max_size:
            raise GateError(f"it has {len(content):,} bytes, and at most {max_size:,} were asked for (--max-size)")
        flex = any(operator.name.startswith("Flex") for _, operator in graph.operators)
        probed = probe(file, [(case.signature, case.inputs) for case in cases], allow_flex=flex)
        verdict = compare(
            reference,
            probed.answers,
            cases,
            precision=recipe.precision,
            budget=budget(recipe),
            reference_name=reference_name,
            candidate_name=f"the {recipe.name} .tflite",
            require_finite=True,
        )
        if not verdict:
            failure = verdict.failures[0]
            raise GateError(str(failure)) if failure.distance is None else ParityError(str(failure))
    except AttnexportError as error:
        kind = ParityError if isinstance(error, ParityError) else GateError
        raise kind(f"the {recipe.name} .tflite was not kept: {error}") from error
    return Passed(verdict, probed, graph)


def budget(recipe: Recipe) -> Budget:
    """What a recipe may lose: its own figure, or its precision's."""
    if recipe.min_sqnr_db is None:
        return BUDGETS[recipe.precision]
    return Budget(recipe.precision, min_sqnr_db=recipe.min_sqnr_db)


def check_recipe(graph: Graph, recipe: Recipe) -> None:
    """Whether the types that a recipe claims are there.

    Raises:
        GateError: saying which are there instead.
    """
    shares = weight_shares(graph)
    share = shares.get(recipe.weights, 0.0)
    if shares and share < (_LEAST_SHARE if not recipe.keep_float else 0.0):
        raise GateError(f"{share:.0%} of its weights are {recipe.weights}; there is {_told(shares)}")
    if recipe.needs_calibration:
        quantized = {tensor.dtype for subgraph in graph.subgraphs for tensor in subgraph.tensors if tensor.quantized}
        if recipe.activations not in quantized or (recipe.keep_float and shares and not share):
            raise GateError(
                "nothing in it is quantized: every operator belongs to the attention core, to what is kept float, or "
                "is one that the quantizer does not know"
            )
    if recipe.integer_only and (left := float_operators(graph)):
        raise GateError(
            f"not every operator is integer: {_told_operators(left)} compute in float. Write them with operations that "
            "have integer kernels (a LayerNormalization as d * rsqrt(mean(d * d) + e) * g + b, for one)"
        )


def weight_shares(graph: Graph) -> dict[str, float]:
    """The share of the elements of all weight matrices by type, 0 to 1; nothing where there are no weights."""
    elements: dict[str, int] = {}
    seen = set()
    for subgraph, operator in graph.operators:
        for tensor in subgraph.weights(operator):
            # A float16 weight is read through a DEQUANTIZE, so its operator sees no constant; see below.
            if (key := (tensor.name, tensor.dtype)) not in seen:
                seen.add(key)
                elements[tensor.dtype] = elements.get(tensor.dtype, 0) + _size(tensor.shape)
        if operator.name == "DEQUANTIZE":
            tensor = subgraph.tensors[operator.inputs[0]]
            key = (tensor.name, tensor.dtype)
            if tensor.constant_bytes and len(tensor.shape) > 1 and key not in seen:
                seen.add(key)
                elements[tensor.dtype] = elements.get(tensor.dtype, 0) + _size(tensor.shape)
    total = sum(elements.values())
    return {dtype: count / total for dtype, count in elements.items()} if total else {}


def float_operators(graph: Graph) -> dict[str, int]:
    """The operators that work on floats, with counts; conversions at the edges are not among them."""
    counts: dict[str, int] = {}
    for subgraph, operator in graph.operators:
        touched = (*operator.inputs, *operator.outputs)
        if operator.name not in CONVERSIONS and any(subgraph.tensors[index].dtype in _FLOATS for index in touched):
            counts[operator.name] = counts.get(operator.name, 0) + 1
    return counts


def _check_operators(graph: Graph, allow_flex: bool) -> None:
    names = {operator.name for _, operator in graph.operators}
    if variables := sorted(names & _VARIABLES):
        raise GateError(f"it holds variables ({', '.join(variables)}), which a .tflite cannot initialize")
    if (flex := sorted(name for name in names if name.startswith("Flex"))) and not allow_flex:
        raise GateError(f"it holds TensorFlow's own operators ({', '.join(flex)}), which LiteRT does not have")


def _check_names(graph: Graph, signatures: Mapping[str, Signature]) -> None:
    for name in signatures:
        if name not in graph.signatures:
            raise GateError(f"its signature {name!r} is missing; it has {one_of(graph.signatures)}")


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size


def _told(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.0%} {dtype}" for dtype, share in sorted(shares.items()))


def _told_operators(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in sorted(counts.items()))
