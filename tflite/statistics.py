"""Statistics of each tensor of a float32 model over samples, and the ranges derived from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from attnexport.core.errors import SamplesError
from attnexport.core.signature import Array, Arrays

from .graph import Graph, Subgraph
from .tracer import TFLiteTracer, call_inputs

# Later samples exceed the extremes of the calibration samples; int16 has room to spare for them.
HEADROOM = {"minmax": 1.0, "minmax-wide": 1.25, "minmax-double": 2.0}
_DECAY = 0.95  # of the moving average, as in litert-quantizer's own calibration
_BINS = 1 << 16
_LEAST = np.finfo(np.float32).min


@dataclass
class TensorStatistics:
    """Statistics of one tensor.

    Attributes:
        lows: Least value of each sample.
        highs: Greatest value of each sample.
        counts: How often each value occurred, by its upper 16 bits.
        is_finite: Whether no value was NaN or infinite; the range says nothing otherwise.
    """

    lows: list[float]
    highs: list[float]
    counts: Array
    is_finite: bool = True

    def range_by(self, calibrator: str) -> tuple[float, float]:
        """The range that a calibrator of `recipes.recipe.CALIBRATORS` derives."""
        low, high = min(self.lows), max(self.highs)
        if calibrator in HEADROOM:
            return low * HEADROOM[calibrator], high * HEADROOM[calibrator]
        if calibrator == "moving-average":
            return _moving_average(self.lows), _moving_average(self.highs)
        share = float(calibrator.removeprefix("percentile-")) / 100
        below, above = self._quantiles(share)
        # The edges of the bins are coarse, the extremes exact.
        return max(low, below), min(high, above)

    def above(self, bound: float) -> tuple[float, float]:
        """The range of the values above a bound; the extremes if there are none."""
        order, values = _ORDERED_BINS
        occupied = values[(self.counts[order] > 0) & (values > bound)]
        if not len(occupied):
            return min(self.lows), max(self.highs)
        # A bin is called after its value nearest to 0, so a negative one reaches a 128th further.
        low = float(occupied[0])
        return (low * (1 + 2.0**-7) if low < 0 else low), max(self.highs)

    def _quantiles(self, share: float) -> tuple[float, float]:
        """Bounds with `share` of the values between them, and half of the rest on each side."""
        order, values = _ORDERED_BINS
        total = np.cumsum(self.counts[order])
        outside = (1 - share) / 2 * total[-1]
        return float(values[np.searchsorted(total, outside)]), float(
            values[np.searchsorted(total, total[-1] - outside)]
        )


Statistics = Mapping[str, TensorStatistics]


def collect_statistics(
    model: bytes, samples: Mapping[str, Arrays], count: int | None = None, graph: Graph | None = None
) -> Statistics:
    """Run samples through a float32 model and record every activation.

    Args:
        model: A float32 .tflite of fixed batch.
        samples: Arrays `[n, ...]` by input name for each signature, `n` a multiple of the batch.
        count: Number of samples that count, the others filling the last batch; all if None.
        graph: The model's contents, if they were read.

    Returns:
        Statistics by tensor name, over all signatures. A tensor that is not finite is no fault as long as nobody needs
        its range: an output of a loop that nothing reads holds whatever was in memory.

    Raises:
        ModelError: if the model does not run.
    """
    statistics: dict[str, TensorStatistics] = {}
    with closing(TFLiteTracer(model, graph)) as tracer:
        for name, inputs in samples.items():
            _record(tracer, name, inputs, count, statistics)
    return statistics


def ranges(statistics: Statistics, calibrator: str) -> dict[str, tuple[float, float]]:
    """The ranges that a calibrator derives, by tensor name; tensors that are not finite have none."""
    return {name: each.range_by(calibrator) for name, each in statistics.items() if each.is_finite}


def check_finite(statistics: Statistics, needed: Collection[str]) -> None:
    """Refuse tensors whose range is needed, and that are not finite.

    Args:
        statistics: Statistics by tensor name.
        needed: The tensors that are quantized.

    Raises:
        SamplesError: naming the first.
    """
    for name, each in statistics.items():
        if name in needed and not each.is_finite:
            raise SamplesError(f"on the calibration samples the model computes NaN or infinity in tensor {name!r}")


def _record(
    tracer: TFLiteTracer, signature: str, inputs: Arrays, count: int | None, statistics: dict[str, TensorStatistics]
) -> None:
    batch = tracer.signatures[signature].fixed_batch or 1
    for chunk, kept in call_inputs(tracer.signatures[signature], inputs, count):
        tracer.run(chunk, signature)
        for name, value in tracer.computed(signature):
            # A tensor whose first dimension is not the batch (merged dimensions) is one sample as a whole.
            rows = value[:kept] if value.shape[:1] == (batch,) else value[None]
            _add(statistics, name, rows.reshape(len(rows), -1))
    _add_unread(tracer.graph.subgraphs[tracer.graph.signatures[signature]], statistics)


def _add_unread(subgraph: Subgraph, statistics: dict[str, TensorStatistics]) -> None:
    """Give outputs that nothing reads, and so have no data, the statistics of their siblings."""
    for operator in subgraph.operators:
        names = [subgraph.tensors[index].name for index in operator.outputs]
        known = next((statistics[name] for name in names if name in statistics), None)
        if known is not None:
            for name in names:
                statistics.setdefault(name, known)


def _add(by_name: dict[str, TensorStatistics], name: str, rows: Array) -> None:
    """Add samples `[n, elements]` of a tensor."""
    lows, highs = rows.min(axis=1), rows.max(axis=1)
    statistics = by_name.setdefault(name, TensorStatistics([], [], np.zeros(_BINS, np.int64)))
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
        statistics.is_finite = False
        if np.isnan(lows).any() or np.isinf(highs).any():
            return
        rows = np.maximum(rows, _LEAST)  # -inf is a mask's
        lows = np.maximum(lows, _LEAST)
    statistics.lows += lows.tolist()
    statistics.highs += highs.tolist()
    bins = np.ascontiguousarray(rows).reshape(-1).view(np.uint32) >> 16
    if bins.size < _BINS:
        np.add.at(statistics.counts, bins, 1)
    else:
        statistics.counts += np.bincount(bins, minlength=_BINS)


def _moving_average(values: list[float]) -> float:
    average = values[0]
    for value in values[1:]:
        average = _DECAY * average + (1 - _DECAY) * value
    return average


def _order_bins() -> tuple[Array, Array]:
    """The bins in the order of their values, without those of NaN, and their first values."""
    with np.errstate(invalid="ignore"):
        values = (np.arange(_BINS, dtype=np.uint32) << 16).view(np.float32)
    usable = np.flatnonzero(np.isfinite(values))
    order = usable[np.argsort(values[usable], kind="stable")]
    return order, values[order]


_ORDERED_BINS = _order_bins()
