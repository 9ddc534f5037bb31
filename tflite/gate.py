"""The gate of a .tflite: the checks it must pass before it takes its final name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnexport.core.child_process import Child
from attnexport.core.errors import AttnexportError, GateError, ParityError, one_of
from attnexport.core.runner import Runner
from attnexport.core.signature import Signature
from attnexport.parity import Case, Limits, Verdict, compare

from .float_core import Places
from .graph import CONVERSIONS, WEIGHTED, Graph, Tensor, read_graph
from .probe import Probe, probe
from .recipes import LayerRule, Recipe
from .runner import read_file

_VARIABLES = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
_MIN_SHARE = 0.9  # of the weights have the type that the recipe claims, unless they are kept float
_FLOATS = {"float16", "float32"}
_TABLES = {"GATHER"}  # what an Embedding becomes
_NO_INT4 = {"BATCH_MATMUL", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}


@dataclass(frozen=True)
class Passed:
    """The results of a file that passed; no probe if no interpreter here runs it (Flex)."""

    verdict: Verdict
    probe: Probe | None
    graph: Graph


def gate_tflite(
    file: Path,
    recipe: Recipe,
    reference: Runner,
    cases: Sequence[Case],
    *,
    signatures: Mapping[str, Signature],
    places: Places | None = None,
    reference_name: str = "Keras",
    allow_flex: bool = False,
    max_size: int | None = None,
    child: Child | None = None,
    class_names: Sequence[str] = (),
) -> Passed:
    """Read a .tflite, run it in a child process, and compare it with its original.

    Args:
        file: The .tflite.
        recipe: The recipe it was made by.
        reference: Runs the original.
        cases: Samples to compare on, which it was not calibrated with.
        signatures: The signatures it must have, with types from before quantization.
        places: Operators the recipe's exceptions apply to.
        reference_name: Name of the original in messages.
        allow_flex: Allow Flex operators; a file that has some is not run here, nor compared.
        max_size: Bytes it may have at most.
        child: A child process to run it in; one of its own if None.
        class_names: Names of the columns of an output that has as many.

    Raises:
        GateError: if it is not what the recipe claims.
        ParityError: if only the numbers differ.

    Example:
        >>> import tensorflow as tf
        >>> from attnexport.exporter import SavedModelRunner
        >>> from attnexport.tflite import RECIPES
        >>> twice = tf.function(lambda x: {"y": 2 * x}, [tf.TensorSpec((1, 3), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=twice)
        >>> original = SavedModelRunner(Path("model"))
        >>> file = Path("model.tflite")
        >>> _ = file.write_bytes(tf.lite.TFLiteConverter.from_saved_model("model").convert())
        >>> case = Case("ones", {"x": tf.ones((1, 3)).numpy()}, "serving_default")
        >>> passed = gate_tflite(file, RECIPES["float32"], original, [case], signatures=original.signatures)
        >>> bool(passed.verdict)
        True
    """
    try:
        content = read_file(file)
        graph = read_graph(content)
        _check_operators(graph, allow_flex)
        _check_names(graph, signatures)
        check_recipe(graph, recipe, places)
        if max_size is not None and len(content) > max_size:
            raise GateError(f"it has {len(content):,} bytes; --max-size allows {max_size:,}")
        if graph.flex_operators:
            return Passed(Verdict(reference_name, f"the {recipe.name} .tflite", recipe.precision, ()), None, graph)
        probed = probe(file, [(case.signature, case.inputs) for case in cases], child)
        _check_io(probed.signatures, signatures, recipe)
        verdict = compare(
            reference,
            probed.outputs,
            cases,
            precision=recipe.precision,
            limits=Limits(min_sqnr_db=recipe.min_sqnr_db),
            reference_name=reference_name,
            candidate_name=f"the {recipe.name} .tflite",
            require_finite=True,
            class_names=class_names,
        )
        verdict.require()
    except AttnexportError as error:
        kind = ParityError if isinstance(error, ParityError) else GateError
        raise kind(f"the {recipe.name} .tflite was not kept: {error}") from error
    return Passed(verdict, probed, graph)


def check_recipe(graph: Graph, recipe: Recipe, places: Places | None = None) -> None:
    """Check that a file has the types its recipe claims.

    Raises:
        GateError: naming the types it has instead.
    """
    places = places or Places()
    _check_weights("its", recipe, weight_shares(graph, claimed_operators(recipe), without=places.outputs))
    for rule, names in places.layers:
        # Of several rules for one operator the last one wins.
        later = places.layers[places.layers.index((rule, names)) + 1 :]
        own = frozenset(names).difference(*(others for _, others in later))
        _check_weights(f"{rule.tensors!r}'s", rule, weight_shares(graph, claimed_operators(rule), within=own))
    if types := recipe.integer_activations:
        tensors = [tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors]
        if not any(each.quantized and not each.constant_bytes and each.dtype in types for each in tensors):
            raise GateError(
                f"nothing in it is computed in {' or '.join(sorted(types))}: every operator belongs to the attention "
                "core, to what is kept float, or is one that the quantizer does not know"
            )
    if recipe.integer_only and (left := float_operators(graph)):
        advice = "write them with operations that have integer kernels"
        if "NEG" in left or "SQUARED_DIFFERENCE" in left:
            advice += " (a LayerNormalization as d * rsqrt(mean(d * d) + e) * g + b)"
        raise GateError(f"not every operator is integer; in float compute {_format_counts(left)}: {advice}")


def _check_weights(whose: str, claimed: Recipe | LayerRule, shares: Mapping[str, float]) -> None:
    share = shares.get(claimed.weights, 0.0)
    if shares and share < _MIN_SHARE:
        raise GateError(f"{share:.0%} of {whose} weights are {claimed.weights}; there is {format_shares(shares)}")


def claimed_operators(recipe: Recipe | LayerRule) -> frozenset[str]:
    """The operators whose weights a recipe can quantize; the others have no kernels for it."""
    if recipe.activations == "int8" or recipe.weights == "float32":
        return WEIGHTED
    return WEIGHTED - (_TABLES | _NO_INT4 if recipe.weights == "int4" else _TABLES)


def weight_shares(
    graph: Graph,
    operators: frozenset[str] = WEIGHTED,
    *,
    without: frozenset[str] = frozenset(),
    within: frozenset[str] | None = None,
) -> dict[str, float]:
    """The share of the elements of all weight matrices by type, 0 to 1; empty if there are no weights.

    Args:
        graph: The model.
        operators: Kinds of operators whose weights count.
        without: Operators that do not count, by the tensor name of their output.
        within: The only operators that count, likewise; all if None.
    """
    weights: dict[int, Tensor] = {}
    for subgraph, operator in graph.operators:
        if operator.name not in operators or not operator.outputs:
            continue
        name = subgraph.tensors[operator.outputs[0]].name
        if name not in without and (within is None or name in within):
            weights |= {tensor.buffer: tensor for tensor in subgraph.weights(operator)}
    elements: Counter[str] = Counter()
    for tensor in weights.values():
        elements[tensor.dtype] += math.prod(tensor.shape)
    return {dtype: count / elements.total() for dtype, count in elements.items()}


def float_operators(graph: Graph) -> dict[str, int]:
    """Counts of the operators that compute in float, without the conversions at the edges."""
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
    if graph.flex_operators and not allow_flex:
        raise GateError(f"it holds TensorFlow's own operators ({', '.join(graph.flex_operators)}), which LiteRT lacks")


def _check_names(graph: Graph, signatures: Mapping[str, Signature]) -> None:
    for name in signatures:
        if name not in graph.signatures:
            raise GateError(f"its signature {name!r} is missing; it has {one_of(graph.signatures)}")


def _check_io(actual_signatures: Mapping[str, Signature], wanted: Mapping[str, Signature], recipe: Recipe) -> None:
    """Check that float inputs and outputs have the recipe's type, and all others their own."""
    for name, signature in wanted.items():
        for kind in ("inputs", "outputs"):
            types = {spec.name: spec.dtype for spec in getattr(actual_signatures[name], kind)}
            for spec in getattr(signature, kind):
                expected = recipe.io_type if spec.dtype == "float32" else spec.dtype
                actual = types.get(spec.name, expected)  # the comparison reports other names
                if actual != expected:
                    raise GateError(f"{spec.name!r} of {name!r} is {actual}; {expected} is expected")


def format_shares(shares: Mapping[str, float]) -> str:
    """Shares as people read them: `75% float32, 25% int8`."""
    return ", ".join(f"{share:.0%} {dtype}" for dtype, share in sorted(shares.items()))


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in sorted(counts.items()))
