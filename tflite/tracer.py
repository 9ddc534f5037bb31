"""A Tracer over a .tflite: an interpreter that keeps what its operators compute."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from attnexport.core.runner import find_signature
from attnexport.core.signature import DEFAULT_SIGNATURE, Array, Arrays, Signature
from attnexport.core.tracer import trace_batched

from .graph import Graph, read_graph
from .runner import TFLiteRunner, read_file


class TFLiteTracer(TFLiteRunner):
    """Runs the signatures of a .tflite, and gives every tensor that an operator computes.

    XNNPACK takes the same operators as without tracing, so values are those the file computes on this CPU.

    Args:
        source: The file, or its content.
        graph: Its contents, if they were read.

    Raises:
        ArgumentError: if the file does not exist.
        ModelError: if it is not a .tflite, or is damaged, or a call fails.
    """

    def __init__(self, source: Path | bytes, graph: Graph | None = None) -> None:
        self._content = source if isinstance(source, bytes) else read_file(source)
        super().__init__(self._content)
        self._computed: dict[str, list[tuple[int, str, Any]]] = {}
        self._graph = graph

    @cached_property
    def graph(self) -> Graph:
        """The contents of the file."""
        return read_graph(self._content) if self._graph is None else self._graph

    def trace(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        """Every tensor `[n, ...]` by name, in the order of computation; quantized integers as floats."""

        def trace_chunk(chunk: Arrays) -> Arrays:
            self.run(chunk, signature)
            return dict(self.computed(signature))

        return trace_batched(trace_chunk, inputs, find_signature(self.signatures, signature).fixed_batch)

    def computed(self, signature: str, names: Collection[str] | None = None) -> Iterator[tuple[str, Array]]:
        """Name and value of the inputs of the last call, and of what it computed; only `names` if given."""
        number = self.graph.signatures[signature]
        if signature not in self._computed:
            self._computed[signature] = self._find_computed(number)
        for index, name, detail in self._computed[signature]:
            if names is not None and name not in names:
                continue
            try:
                value = self._interpreter.get_tensor(index, number)
            except ValueError:  # an output that nothing reads has no data
                continue
            yield name, self._dequantized(value, detail)

    def sources(self, signature: str = DEFAULT_SIGNATURE) -> dict[str, tuple[str, ...]]:
        """The tensors that the operator of each tensor takes, by the tensor's name."""
        subgraph = self.graph.subgraphs[self.graph.signatures[signature]]
        return {
            subgraph.tensors[output].name: tuple(subgraph.tensors[index].name for index in operator.inputs)
            for operator in subgraph.operators
            for output in operator.outputs
        }

    def _find_computed(self, number: int) -> list[tuple[int, str, Any]]:
        """Index, name and details of a subgraph's inputs, and of what its operators compute, in order."""
        subgraph = self.graph.subgraphs[number]
        details = {detail["index"]: detail for detail in self._interpreter.get_tensor_details(number)}
        indices = [*subgraph.inputs, *(index for each in subgraph.operators for index in each.outputs)]
        tensors = [(index, subgraph.tensors[index]) for index in indices]
        return [
            (index, tensor.name, details[index])
            for index, tensor in tensors
            if tensor.dtype == "float32" or tensor.quantized
        ]

    def _open(self, content: bytes, threads: int) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it advises against keeping tensors
            return Interpreter(model_content=content, num_threads=threads, experimental_preserve_all_tensors=True)


def call_inputs(signature: Signature, inputs: Arrays, count: int | None = None) -> Iterator[tuple[Arrays, int]]:
    """Inputs for one call after another, each with the number of samples in it that count.

    Args:
        signature: A signature of fixed batch.
        inputs: Arrays `[n, ...]` by input name, `n` a multiple of the batch.
        count: Number of samples that count, the others filling the last batch; all if None.
    """
    batch = signature.fixed_batch or 1
    scalars = {spec.name for spec in signature.inputs if spec.shape == ()}
    total = len(next(iter(inputs.values()))) if count is None else count
    for start in range(0, total, batch):
        chunk = {
            name: array[start] if name in scalars else array[start : start + batch] for name, array in inputs.items()
        }
        yield chunk, min(batch, total - start)
