"""Per-tensor statistics of a float32 model over samples, collected in one pass, and the ranges derived from them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnexport.core.errors import ModelError, SamplesError, first_line
from attnexport.core.signature import Arrays

from .graph import Graph, read_graph

_DECAY = 0.95  # of the moving average, as in litert-quantizer's own calibration
_BINS = 1 << 16


@dataclass
class TensorStatistics:
    """Of one tensor: the extremes of each sample, and how often each value occurred, cut to its upper 16 bits."""

    lows: list[float]
    highs: list[float]
    counts: np.ndarray[Any, Any]

    def range_by(self, calibrator: str) -> tuple[float, float]:
        """The range by a calibrator of `recipes.recipe.CALIBRATORS`."""
        low, high = min(self.lows), max(self.highs)
        if calibrator == "minmax":
            return low, high
        if calibrator == "moving-average":
            return _moving_average(self.lows), _moving_average(self.highs)
        share = float(calibrator.removeprefix("percentile-")) / 100
        below, above = self._quantiles(share)
        # The bins' edges are coarse; nothing lies beyond the extremes.
        return max(low, below), min(high, above)

    def _quantiles(self, share: float) -> tuple[float, float]:
        """Bounds that hold `share` of the values between them, with half of the rest on each side."""
        order, values = _ORDERED_BINS
        total = np.cumsum(self.counts[order])
        outside = (1 - share) / 2 * total[-1]
        return float(values[np.searchsorted(total, outside)]), float(
            values[np.searchsorted(total, total[-1] - outside)]
        )


Statistics = Mapping[str, TensorStatistics]


def collect_statistics(model: bytes, samples: Mapping[str, Arrays]) -> Statistics:
    """Run samples through a float32 model and watch every activation.

    Args:
        model: A float32 .tflite of fixed batch.
        samples: By signature, arrays `[n, ...]` by input name, `n` a multiple of the batch.

    Returns:
        By tensor name, over all signatures.

    Raises:
        SamplesError: where the model answers with NaN or infinity somewhere inside.
        ModelError: where it does not run.
    """
    from ai_edge_litert.interpreter import Interpreter

    graph = read_graph(model)
    found: dict[str, TensorStatistics] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it advises against what is wanted here
            interpreter = Interpreter(model_content=model, experimental_preserve_all_tensors=True)
            for name, inputs in samples.items():
                _watch(interpreter, graph, name, inputs, found)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"the float32 .tflite does not run: {first_line(error)}") from error
    return found


def ranges(statistics: Statistics, calibrator: str) -> dict[str, tuple[float, float]]:
    """The range of every tensor by a calibrator."""
    return {name: each.range_by(calibrator) for name, each in statistics.items()}


def _watch(interpreter: Any, graph: Graph, signature: str, inputs: Arrays, found: dict[str, TensorStatistics]) -> None:
    runner = interpreter.get_signature_runner(signature)
    number = graph.signatures[signature]
    subgraph = graph.subgraphs[number]
    watched = {
        index: subgraph.tensors[index].name
        for index in [*subgraph.inputs, *(index for each in subgraph.operators for index in each.outputs)]
        if subgraph.tensors[index].dtype == "float32"
    }
    batch = {name: detail["shape"][0] for name, detail in runner.get_input_details().items()}
    count = len(next(iter(inputs.values()))) // next(iter(batch.values()))
    for start in range(count):
        runner(**{name: array[start * batch[name] : (start + 1) * batch[name]] for name, array in inputs.items()})
        for index, name in watched.items():
            _add(found, name, interpreter.get_tensor(index, number))


def _add(found: dict[str, TensorStatistics], name: str, value: np.ndarray[Any, Any]) -> None:
    low, high = float(value.min()), float(value.max())
    if not np.isfinite([low, high]).all():
        raise SamplesError(f"on the calibration samples the model computes NaN or infinity in tensor {name!r}")
    statistics = found.setdefault(name, TensorStatistics([], [], np.zeros(_BINS, np.uint32)))
    statistics.lows.append(low)
    statistics.highs.append(high)
    bins = np.ascontiguousarray(value).reshape(-1).view(np.uint32) >> 16
    statistics.counts += np.bincount(bins, minlength=_BINS).astype(np.uint32)


def _moving_average(values: list[float]) -> float:
    average = values[0]
    for value in values[1:]:
        average = _DECAY * average + (1 - _DECAY) * value
    return average


def _order_bins() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The bins by their value, without those of NaN, and the values that they begin with."""
    with np.errstate(invalid="ignore"):
        values = (np.arange(_BINS, dtype=np.uint32) << 16).view(np.float32)
    usable = np.flatnonzero(np.isfinite(values))
    order = usable[np.argsort(values[usable], kind="stable")]
    return order, values[order]


_ORDERED_BINS = _order_bins()
