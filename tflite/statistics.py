"""Per-tensor statistics of a float32 model over samples, collected in one pass, and the ranges derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnexport.core.errors import SamplesError
from attnexport.core.signature import Arrays

from .graph import Subgraph
from .tracer import TFLiteTracer

# Samples that come later go beyond the extremes of those that were looked at; int16 has room to spare for them.
_HEADROOM = {"minmax": 1.0, "minmax-wide": 1.25, "minmax-double": 2.0}
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
        if calibrator in _HEADROOM:
            return low * _HEADROOM[calibrator], high * _HEADROOM[calibrator]
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


def collect_statistics(model: bytes, samples: Mapping[str, Arrays], count: int | None = None) -> Statistics:
    """Run samples through a float32 model and watch every activation.

    Args:
        model: A float32 .tflite of fixed batch.
        samples: By signature, arrays `[n, ...]` by input name, `n` a multiple of the batch.
        count: How many of them count, the rest being there to fill the last batch; all if None.

    Returns:
        By tensor name, over all signatures.

    Raises:
        SamplesError: if the model answers with NaN or infinity somewhere inside.
        ModelError: if it does not run.
    """
    found: dict[str, TensorStatistics] = {}
    with closing(TFLiteTracer(model)) as tracer:
        for name, inputs in samples.items():
            _watch(tracer, name, inputs, count, found)
    return found


def ranges(statistics: Statistics, calibrator: str) -> dict[str, tuple[float, float]]:
    """The range of every tensor by a calibrator."""
    return {name: each.range_by(calibrator) for name, each in statistics.items()}


def _watch(
    tracer: TFLiteTracer, signature: str, inputs: Arrays, count: int | None, found: dict[str, TensorStatistics]
) -> None:
    shape = tracer.signatures[signature].inputs[0].shape
    batch = (shape[0] if shape else None) or 1
    total = len(next(iter(inputs.values()))) if count is None else count
    for start in range(0, total, batch):
        tracer.run({name: array[start : start + batch] for name, array in inputs.items()}, signature)
        kept = min(batch, total - start)
        for name, value in tracer.computed(signature):
            # A tensor that is not led by the batch (merged dimensions) is one sample as a whole.
            rows = value[:kept] if value.shape[:1] == (batch,) else value[None]
            _add(found, name, rows.reshape(len(rows), -1))
    _add_unread(tracer.graph.subgraphs[tracer.graph.signatures[signature]], found)


def _add_unread(subgraph: Subgraph, found: dict[str, TensorStatistics]) -> None:
    """An output that nothing reads has no data, but the quantizer asks for its range: that of its siblings will do."""
    for operator in subgraph.operators:
        names = [subgraph.tensors[index].name for index in operator.outputs]
        seen = next((found[name] for name in names if name in found), None)
        if seen is not None:
            for name in names:
                found.setdefault(name, seen)


def _add(found: dict[str, TensorStatistics], name: str, rows: np.ndarray[Any, Any]) -> None:
    """Add samples `[n, elements]` of a tensor."""
    lows, highs = rows.min(axis=1), rows.max(axis=1)
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
        raise SamplesError(f"on the calibration samples the model computes NaN or infinity in tensor {name!r}")
    statistics = found.setdefault(name, TensorStatistics([], [], np.zeros(_BINS, np.int64)))
    statistics.lows += lows.tolist()
    statistics.highs += highs.tolist()
    bins = np.ascontiguousarray(rows).reshape(-1).view(np.uint32) >> 16
    if bins.size < _BINS:
        occupied, counts = np.unique(bins, return_counts=True)
        statistics.counts[occupied] += counts
    else:
        statistics.counts += np.bincount(bins, minlength=_BINS)


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
