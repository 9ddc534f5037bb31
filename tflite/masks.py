"""The ranges around an integer softmax whose scores are masked.

A mask makes scores of -1e9, -3e4 or -inf, which would use up an integer scale: one step of int8 would be 1e9 / 255.
What is masked needs only to be so far below the other scores that the softmax gives it nothing. So the range of masked
scores ends a little below the least score that is not masked, and everything that is added, multiplied or selected to
mask them saturates there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from attnexport.core.signature import Array

from .graph import Graph, Operator, Subgraph, parse_model
from .statistics import Statistics, TensorStatistics

# What is at most this is masked: BERT's masks add -10000, ours -30000, Keras's -1e9.
MASKED = -9000.0
_MARGIN = 16.0  # exp(-16) is a thousandth of int8's 1/256, and lost
_SELECTS = {"SELECT", "SELECT_V2"}
_SAME = {"BROADCAST_TO", "EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE"}
_MAX_DEPTH = 16

Ranges = dict[str, tuple[float, float]]


def mask_ranges(
    model: bytes, graph: Graph, statistics: Statistics, ranges: Mapping[str, tuple[float, float]]
) -> Ranges:
    """Ranges for masked scores, and for the tensors and constants that mask them, in place of those from samples.

    Args:
        model: The float32 .tflite.
        graph: Its contents.
        statistics: Statistics of its activations.
        ranges: The ranges derived from them.

    Returns:
        The ranges that change, by tensor name; those of constants that mask are among them.
    """
    changed: Ranges = {}
    for number in set(graph.signatures.values()):
        subgraph = graph.subgraphs[number]
        for operator in subgraph.operators:
            if operator.name == "SOFTMAX":
                _Scores(subgraph, _constants(model, number), statistics, ranges, changed).visit(operator.inputs[0])
    return changed


@dataclass
class _Scores:
    """The way from a softmax back to what masks its scores."""

    subgraph: Subgraph
    constants: Mapping[int, Array]
    statistics: Statistics
    ranges: Mapping[str, tuple[float, float]]
    changed: Ranges
    seen: set[int] = field(default_factory=set)

    def visit(self, scores: int) -> None:
        """Find the range of a softmax's input, if it is masked."""
        found = self.statistics.get(self._name(scores))
        if found is None or not found.lows or min(found.lows) > MASKED:
            return
        low, high = found.above(MASKED)
        self._set(scores, low - _MARGIN, high)

    def _set(self, index: int, low: float, high: float, depth: int = 0) -> None:
        """Give a tensor a range, and what it is computed from those that make masked values saturate there."""
        if index in self.seen or depth > _MAX_DEPTH:
            return
        self.seen.add(index)
        self.changed[self._name(index)] = low, high
        operator = self.subgraph.producers.get(index)
        if operator is None:
            return
        if operator.name in _SAME:
            self._set(operator.inputs[0], low, high, depth + 1)
        elif operator.name in _SELECTS:
            for each in operator.inputs[1:]:
                if self._is_masked(each):
                    self._set(each, low, high, depth + 1)
        elif operator.name in ("ADD", "SUB"):
            self._set_sum(operator, low, depth)
        elif operator.name == "MUL":
            for each in operator.inputs:
                # The other one is 0 and 1.
                if self._is_masked(each):
                    self._set(each, low, max(high, 0.0), depth + 1)

    def _set_sum(self, operator: Operator, low: float, depth: int) -> None:
        sign = -1.0 if operator.name == "SUB" else 1.0
        first, second = operator.inputs
        for masking, scores, factor in ((second, first, sign), (first, second, 1.0)):
            if self._is_masked(masking, factor):
                # From the greatest score down to the end of the range.
                depth_needed = self._high(scores) - low
                bounds = sorted((-factor * depth_needed, 0.0))
                self._set(masking, bounds[0], bounds[1], depth + 1)
                return

    def _is_masked(self, index: int, factor: float = 1.0) -> bool:
        """Whether a tensor, times the factor, has values that mask."""
        if index in self.constants:
            values = self.constants[index]
            return values.dtype.kind == "f" and bool((factor * values <= MASKED).any())
        found = self.statistics.get(self._name(index))
        if found is None or not found.lows:
            return False
        return min(found.lows) <= MASKED if factor > 0 else max(found.highs) >= -MASKED

    def _high(self, index: int) -> float:
        if index in self.constants:
            return float(self.constants[index].max())
        name = self._name(index)
        if name in self.ranges:
            return self.ranges[name][1]
        found: TensorStatistics | None = self.statistics.get(name)
        return max(found.highs) if found and found.highs else 0.0

    def _name(self, index: int) -> str:
        return self.subgraph.tensors[index].name


def _constants(content: bytes, subgraph: int) -> dict[int, Array]:
    """The float32 constants of a subgraph by the index of their tensor.

    Raises:
        ModelError: if it is not a .tflite.
    """
    from ai_edge_litert.tools import flatbuffer_utils as utils

    model = parse_model(content)
    values: dict[int, Array] = {}
    for index, tensor in enumerate(model.subgraphs[subgraph].tensors):
        buffer = model.buffers[tensor.buffer]
        if utils.type_to_name(tensor.type).lower() != "float32":
            continue
        if buffer.data is not None and len(buffer.data):
            values[index] = np.frombuffer(bytes(buffer.data), np.float32)
        elif buffer.size:  # large ones lie behind the flatbuffer
            values[index] = np.frombuffer(content, np.float32, buffer.size // 4, buffer.offset)
    return values
