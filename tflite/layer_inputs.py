"""Moments of the inputs of dense layers over samples, by which their weights are rounded."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from attnexport.core.os_errors import writing
from attnexport.core.signature import Array, Arrays

from .graph import Graph
from .tracer import TFLiteTracer, call_inputs

_ROWS = 4096  # of a layer's input that are counted at once, fewer of wide ones
_VALUES = 1 << 20  # in those rows
_MAX_BYTES = 512 << 20  # that the sums of one pass over the samples take
MAX_INPUTS = 2048  # of a layer whose moments are collected; they take the square of it


@dataclass
class LayerInputs:
    """What a dense layer's inputs are like.

    Attributes:
        origin: What both sums are taken around, `[inputs]`, lest rounding loses inputs that vary far from zero.
        total: Sum of the inputs, `[inputs]`.
        products: Sum of their products, `[inputs, inputs]`.
        count: Number of rows.
    """

    origin: Array
    total: Array
    products: Array
    count: int = 0
    _waiting: list[Array] = field(default_factory=list, repr=False)
    _rows: int = field(default=0, repr=False)

    @classmethod
    def of(cls, width: int) -> LayerInputs:
        """No rows yet, of so many inputs."""
        return cls(np.zeros(width), np.zeros(width), np.zeros((width, width)))

    def add(self, rows: Array) -> None:
        """Add rows `[n, inputs]`; they count once `finish` was called."""
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= min(_ROWS, _VALUES // len(self.total)):
            self.finish()

    def finish(self) -> None:
        """Count the rows that wait: a product of many is faster than many products."""
        if not self._waiting:
            return
        wide = np.concatenate(self._waiting).astype(np.float64)
        self._waiting, self._rows = [], 0
        if self.count == 0:
            self.origin = wide.mean(axis=0)
        wide -= self.origin
        self.total += wide.sum(axis=0)
        self.products += wide.T @ wide
        self.count += len(wide)

    def to_disk(self) -> None:
        """Keep the products in a file without a name, from which they are read when they are needed."""
        if self.count:
            with writing(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
                self.products.tofile(file)
                file.flush()
                self.products = np.memmap(file, np.float64, "r", shape=self.products.shape)

    @property
    def mean(self) -> Array:
        """The mean input, `[inputs]`."""
        mean: Array = self.origin + self._shifted
        return mean

    @property
    def moments(self) -> Array:
        """Second moments, `[inputs, inputs]`."""
        moments: Array = self.covariance + np.outer(self.mean, self.mean)
        return moments

    @property
    def covariance(self) -> Array:
        """Moments around the mean, `[inputs, inputs]`: of what a bias cannot make good."""
        covariance: Array = self.products / max(self.count, 1) - np.outer(self._shifted, self._shifted)
        return covariance

    @property
    def _shifted(self) -> Array:
        return self.total / max(self.count, 1)


def dense_inputs(graph: Graph) -> dict[int, list[str]]:
    """The tensors that are multiplied by each matrix of a dense layer, by the matrix's buffer.

    Matrices that something else reads as well, such as a table that scores share, are left out.
    """
    names: dict[int, list[str]] = {}
    others: set[int] = set()
    for subgraph, operator in graph.operators:
        weights = subgraph.weights(operator)
        for each in weights:
            is_dense = operator.name == "FULLY_CONNECTED" and len(weights) == 1 and each.dtype == "float32"
            if is_dense and len(each.shape) == 2 and each.shape[1] <= MAX_INPUTS:
                names.setdefault(each.buffer, []).append(subgraph.tensors[operator.inputs[0]].name)
            else:
                others.add(each.buffer)
    return {buffer: each for buffer, each in names.items() if buffer not in others}


def collect_layer_inputs(
    model: bytes, graph: Graph, samples: Mapping[str, Arrays], count: int | None = None
) -> dict[int, LayerInputs]:
    """Run samples through a float32 model, and collect the moments of its dense layers' inputs.

    Args:
        model: A float32 .tflite of fixed batch.
        graph: Its contents.
        samples: Arrays `[n, ...]` by input name for each signature, `n` a multiple of the batch.
        count: Number of samples that count, the others filling the last batch; all if None.

    Returns:
        The moments by the buffer of the layer's matrix; layers whose inputs are not finite are left out.

    Raises:
        ModelError: if the model does not run.
    """
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}  # by width and names: layers side by side share them
    for buffer, names in dense_inputs(graph).items():
        width = next(each.shape[1] for each in graph.constants if each.buffer == buffer)
        groups.setdefault((width, tuple(dict.fromkeys(names))), []).append(buffer)
    found: dict[int, LayerInputs] = {}
    with closing(TFLiteTracer(model, graph)) as tracer:
        passes = _passes(list(groups))
        for keys in passes:
            inputs = {key: LayerInputs.of(key[0]) for key in keys}
            _collect(tracer, inputs, samples, count)
            for key, each in inputs.items():
                if each.count and np.isfinite(each.products).all():
                    if len(passes) > 1:
                        each.to_disk()
                    found |= dict.fromkeys(groups[key], each)
    return found


def _passes(keys: Sequence[tuple[int, tuple[str, ...]]]) -> list[list[tuple[int, tuple[str, ...]]]]:
    """The inputs to collect in each pass over the samples, so that their sums fit into memory together."""
    passes: list[list[tuple[int, tuple[str, ...]]]] = []
    left = 0
    for key in keys:
        size = 8 * key[0] ** 2
        if size > left or not passes:
            passes.append([])
            left = _MAX_BYTES
        passes[-1].append(key)
        left -= size
    return passes


def _collect(
    tracer: TFLiteTracer,
    inputs: Mapping[tuple[int, tuple[str, ...]], LayerInputs],
    samples: Mapping[str, Arrays],
    count: int | None,
) -> None:
    """One pass over the samples."""
    readers: dict[str, list[LayerInputs]] = {}
    for (_, names), each in inputs.items():
        for name in names:
            readers.setdefault(name, []).append(each)
    for signature, arrays in samples.items():
        batch = tracer.signatures[signature].fixed_batch or 1
        for chunk, kept in call_inputs(tracer.signatures[signature], arrays, count):
            tracer.run(chunk, signature)
            for name, value in tracer.computed(signature, readers):
                rows = value[:kept] if len(value) == batch else value
                for each in readers[name]:
                    each.add(rows.reshape(-1, len(each.total)))
    for each in inputs.values():
        each.finish()
