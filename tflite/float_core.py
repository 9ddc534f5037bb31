"""The operators that stay float32 in a recipe that quantizes activations.

A recipe names the seeds: the attention core, normalization, the user's own choice. Around them, operators without
weights stay float as well, up to the next operator with weights: a transpose between a projection and the scores, the
mask added to them (whose -1e9 would use up an int8 scale), the residual sum before a normalization. Quantizing those
gains nothing and costs a conversion each.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from .front_end import front_end
from .graph import Graph, Operator, Subgraph
from .recipes import LayerRule, Recipe
from .small_weights import small_operators
from .units import unit_operators

_OPERATOR = re.compile(r"[A-Z][A-Z0-9_]*")
# Their outputs hold values of their input, and have its scale and zero point.
_VALUE_PRESERVING = {
    *("BROADCAST_TO", "EXPAND_DIMS", "RESHAPE", "SLICE", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK"),
}
_STEPS = {"CEIL", "EQUAL", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "NOT_EQUAL", "ROUND"}
_LOOPS = {"CALL", "CALL_ONCE", "IF", "WHILE"}


@dataclass(frozen=True)
class Places:
    """The operators of a model to which a recipe's exceptions apply. Each is named by its first output tensor.

    Attributes:
        kept_float: The operators that stay float.
        layers: The recipe's rules that match operators, each with those operators.
        scopes: litert-quantizer's name of each operator: all its outputs, each followed by a semicolon.
        centred: The tensors that each right operand of an integer product of two activations passes through. They need
            a range whose zero point is 0: XNNPACK takes no other product.
        tables: The operators that look rows of a table up.
    """

    kept_float: tuple[str, ...] = ()
    layers: tuple[tuple[LayerRule, tuple[str, ...]], ...] = ()
    scopes: Mapping[str, str] = field(default_factory=dict)
    centred: tuple[tuple[str, ...], ...] = ()
    tables: tuple[str, ...] = ()

    @property
    def stay_float(self) -> frozenset[str]:
        """The operators that no rule quantizes after all."""
        return frozenset(self.kept_float).difference(*(names for _, names in self.layers))

    @property
    def outputs(self) -> frozenset[str]:
        """All operators with an exception."""
        return frozenset(self.kept_float).union(*(names for _, names in self.layers))


def float_outputs(graph: Graph, keep_float: Sequence[str], *, units: bool = True) -> list[str]:
    """The first output tensors of all operators that stay float.

    All operators of loops and branches are among them, since calibration does not see their values.

    Args:
        graph: The float32 model.
        keep_float: Operators by name in capitals, or regular expressions that are searched for in output tensor names.
        units: Whether what mixes units stays float as well: the concatenation that gives an output, and the arithmetic
            by columns on an input. One scale for pixels and shares, or for ages and incomes, loses the smaller. So does
            what is computed of the inputs before their logarithm, and what compares numbers for equality, or cuts them.
    """
    called = set(graph.signatures.values())
    names = []
    for number, subgraph in enumerate(graph.subgraphs):
        kept = list(subgraph.operators)
        if number in called:
            # A loop computes in float, and so do its neighbours: quantized values would be converted before it.
            exact = [
                each for each in kept if each.name in _LOOPS or _needs_exact(subgraph, each, has_kernels=not units)
            ]
            seeds = [*exact, *(each for each in kept if _is_seed(subgraph, each, keep_float))]
            seeds += [*unit_operators(subgraph), *front_end(subgraph)] if units else []
            kept = joined(subgraph, seeds)
        names += [subgraph.tensors[operator.outputs[0]].name for operator in kept if operator.outputs]
    return names


def place(graph: Graph, recipe: Recipe) -> Places:
    """Find the operators of a model to which a recipe's exceptions apply."""
    rules = ((rule, tuple(_matching(graph, [rule.tensors]))) for rule in recipe.layers)
    # If activations are not quantized, neighbours and loops need not stay float.
    find = (
        partial(float_outputs, units=not recipe.integer_only) if recipe.activations in ("int8", "int16") else _matching
    )
    scopes = {
        subgraph.tensors[operator.outputs[0]].name: "".join(f"{subgraph.tensors[at].name};" for at in operator.outputs)
        for subgraph, operator in graph.operators
        if operator.outputs
    }
    layers = tuple((rule, names) for rule, names in rules if names)
    kept_float = tuple(
        dict.fromkeys(
            [*find(graph, recipe.keep_float), *small_operators(graph, recipe), *_before_logarithms(graph, recipe)]
        )
    )
    tables = tuple(_matching(graph, ["GATHER"]))
    return Places(kept_float, layers, scopes, _right_operands(graph, frozenset(kept_float)), tables)


def _before_logarithms(graph: Graph, recipe: Recipe) -> list[str]:
    """What stays float by recipes whose products round their inputs as they run."""
    if recipe.activations != "dynamic":
        return []
    subgraphs = [graph.subgraphs[number] for number in set(graph.signatures.values())]
    return [
        subgraph.tensors[each.outputs[0]].name
        for subgraph in subgraphs
        for each in front_end(subgraph)
        if subgraph.weights(each)
    ]


def _right_operands(graph: Graph, kept_float: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    """What each right operand of a product of two activations passes through, from the operator that computes it."""
    chains = []
    for subgraph, operator in graph.operators:
        if operator.name != "BATCH_MATMUL" or len(subgraph.activations(operator.inputs)) < 2:
            continue
        if subgraph.tensors[operator.outputs[0]].name in kept_float:
            continue
        index = operator.inputs[1]
        chain = [index]
        while (producer := subgraph.producers.get(index)) is not None and producer.name in _VALUE_PRESERVING:
            [index, *_] = subgraph.activations(producer.inputs) or [index]
            if index in chain:
                break
            chain.append(index)
        chains.append(tuple(subgraph.tensors[each].name for each in chain))
    return tuple(chains)


def quantized_tensors(graph: Graph, places: Places) -> frozenset[str]:
    """The tensors whose ranges quantization needs: those of operators that are not kept float, inputs and outputs.

    What is inside loops and branches stays float, whether an operator is named there or not.
    """
    names = set()
    for number in set(graph.signatures.values()):
        subgraph = graph.subgraphs[number]
        indices = {*subgraph.inputs, *subgraph.outputs}
        for operator in subgraph.operators:
            if not operator.outputs or operator.name in _LOOPS:
                continue
            if subgraph.tensors[operator.outputs[0]].name not in places.stay_float:
                indices |= {*subgraph.activations((*operator.inputs, *operator.outputs))}
        names |= {subgraph.tensors[index].name for index in indices}
    return frozenset(names)


def unmatched(graph: Graph, keep_float: Sequence[str]) -> list[str]:
    """The patterns that match no operator."""
    return [
        pattern
        for pattern in keep_float
        if not any(_is_seed(subgraph, operator, [pattern]) for subgraph, operator in graph.operators)
    ]


def _matching(graph: Graph, patterns: Sequence[str]) -> list[str]:
    """The first output tensors of the operators that match, without their neighbours."""
    names = (
        subgraph.tensors[operator.outputs[0]].name
        for subgraph, operator in graph.operators
        if operator.outputs and _is_seed(subgraph, operator, patterns)
    )
    return list(dict.fromkeys(names))


def _needs_exact(subgraph: Subgraph, operator: Operator, *, has_kernels: bool) -> bool:
    """Whether an operator makes something else of the number 2.98 than of 3.

    A cast to integers cuts it to 2, another category or row of a table; a bit cast reads the bits, as Keras's arg max
    does; a comparison finds what Masking is to hide, or does not. Some comparisons and cuts have integer kernels, which
    `--integer-only` takes.
    """
    if operator.name == "BITCAST" or (operator.name in _STEPS and not has_kernels):
        return subgraph.tensors[operator.inputs[0]].dtype == "float32"
    if operator.name != "CAST":
        return False
    before, after = (subgraph.tensors[each[0]].dtype for each in (operator.inputs, operator.outputs))
    return before == "float32" and after.lstrip("u").startswith("int")


def _is_seed(subgraph: Subgraph, operator: Operator, patterns: Sequence[str]) -> bool:
    names = [subgraph.tensors[index].name for index in operator.outputs]
    for pattern in patterns:
        if _OPERATOR.fullmatch(pattern):
            # A product with a constant is a projection, however it is written.
            if operator.name == pattern and not (pattern == "BATCH_MATMUL" and subgraph.weights(operator)):
                return True
        elif any(re.search(pattern, name) for name in names):
            return True
    return False


def joined(subgraph: Subgraph, seeds: Sequence[Operator]) -> list[Operator]:
    """The seeds, and all operators without weights that connect to them through such operators only."""
    consumers: dict[int, list[Operator]] = defaultdict(list)
    for operator in subgraph.operators:
        for index in operator.inputs:
            consumers[index].append(operator)
    members = {id(seed): seed for seed in seeds}
    waiting = [seed for seed in seeds if not subgraph.weights(seed)]
    while waiting:
        operator = waiting.pop()
        neighbours = [subgraph.producers[index] for index in operator.inputs if index in subgraph.producers]
        neighbours += [each for index in operator.outputs for each in consumers[index]]
        for each in neighbours:
            if id(each) not in members and not subgraph.weights(each):
                members[id(each)] = each
                waiting.append(each)
    return [each for each in subgraph.operators if id(each) in members]
