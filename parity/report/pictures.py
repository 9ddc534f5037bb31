"""Pictures of single artifacts: errors, worst sample, attention, layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnexport.core.signature import Array
from attnexport.parity.checks import Check
from attnexport.parity.figures import decibels
from attnexport.parity.layers import AttentionMap, LayerCheck
from attnexport.parity.metrics import absolute_errors
from attnexport.parity.tally import EDGES

from .contents import WorstSample
from .drawing import BLUE, GREY, ORANGE, RED, SERIES, Picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_VALUES = 64  # outputs of more values are drawn as a scatter plot
_MAX_TICKS = 12
_MAX_LAYERS = 24
_POOR_DB = 20.0
_MIN_SHARE = 0.005  # smaller shares would be shown as 0%


def histogram(checks: Sequence[Check]) -> Picture:
    """How often errors of each size occur, a line per output; `checks` are those of one artifact with figures."""
    decades = [round(math.log10(edge)) for edge in EDGES]
    shares = {f"{each.signature} {each.output}": _shares(each) for each in checks}
    equal = ", ".join(f"{share[0]:.0%} of {name}" for name, share in shares.items() if share[0] >= _MIN_SHARE)
    # Errors below the first edge count as equal; their share would dwarf all others.
    used = [number for number in range(1, len(EDGES) + 1) if any(share[number] for share in shares.values())]
    low, high = min(used, default=1), max(used, default=1)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for number, (name, share) in enumerate(shares.items()):
            edges, colour = np.arange(low, high + 2), SERIES[number % len(SERIES)]
            axes.stairs(share[low : high + 1], edges, color=colour, linewidth=1.6, label=name)
            axes.stairs(share[low : high + 1], edges, color=colour, alpha=0.15, fill=True)
        ticks = [*range(low, high + 2)][:: 1 + (high - low) // 8]
        axes.set_xticks(ticks, [f"1e{decades[0] + tick - 1}" for tick in ticks])
        axes.set_xlim(low, high + 1)
        axes.set_ylim(0, 1.05 * max((max(share[1:]) for share in shares.values()), default=1.0) or 1.0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel("absolute error")
        axes.set_ylabel("share of the values")
        if len(shares) > 1:
            axes.legend(fontsize=7.5)

    peaks = "; ".join(
        f"{name}: most from 1e{decades[0] + peak - 1} to 1e{decades[0] + peak}"
        for name, peak in ((name, 1 + int(np.argmax(share[1:]))) for name, share in shares.items())
    )
    caption = "Errors of all samples, by decade" + (f"; equal values are not shown: {equal}" if equal else "")
    return picture(draw, (4.6, 2.8), f"Histogram of absolute errors. {peaks}", caption)


def worst_sample(worst: WorstSample) -> Picture:
    """The sample with an artifact's greatest error: its input, and the outputs of both."""
    shown = [(name, array) for name, array in worst.inputs.items() if _drawable(array)][:1]
    right, given = (np.asarray(each, np.float64).reshape(-1) for each in (worst.expected, worst.actual))
    with np.errstate(invalid="ignore"):
        off = _finite(given - right)

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(2, 1 + len(shown), width_ratios=[1.0] * len(shown) + [2.2], height_ratios=[2, 1])
        for number, (name, array) in enumerate(shown):
            axes = figure.add_subplot(grid[:, number])
            axes.imshow(_as_image(array), aspect="auto" if _elongated(array) else "equal", interpolation="nearest")
            _bare(axes, f"input {name}")
        if right.size > _MAX_VALUES:
            axes = figure.add_subplot(grid[:, len(shown)])
            axes.plot(_finite(right), _finite(given), ".", color=BLUE, alpha=0.5, markersize=3)
            axes.set_xlabel(f"{worst.output}, the original's")
            axes.set_ylabel("the artifact's")
            return
        places = np.arange(right.size)
        above = figure.add_subplot(grid[0, len(shown)])
        above.bar(places, _finite(right), color=BLUE, alpha=0.45, width=0.75, label="original")
        above.plot(places, _finite(given), "o", color=ORANGE, markersize=4, label="artifact")
        above.legend(fontsize=7.5, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        above.tick_params(labelbottom=False)
        below = figure.add_subplot(grid[1, len(shown)], sharex=above)
        below.bar(places, off, color=ORANGE, width=0.5)
        below.set_xlabel(f"value of {worst.output}")
        below.set_ylabel("error")
        below.ticklabel_format(axis="y", scilimits=(-3, 4))
        for axes in (above, below):
            axes.axhline(0, color=GREY, linewidth=0.5)
        if right.size <= _MAX_TICKS:
            below.set_xticks(places)
            if len(worst.labels) == right.size:
                below.set_xticks(places, worst.labels, rotation=35, ha="right")

    named = len(worst.labels) == right.size and len(worst.index) == 1
    where = f" for {worst.labels[worst.index[0]]}" if named else list(worst.index) if worst.index else ""
    place = f"{worst.output}{where}"
    description = (
        f"sample, number {worst.number} ({worst.runtime}, {worst.signature}): {place} is off by {worst.error:.2g}"
    )
    caption = f"The worst {description}; drawn as it runs by itself"
    return picture(draw, (4.6, 2.8), f"The worst {description}", caption)


def attention(shown: AttentionMap, title: str, original: AttentionMap | None, brightest: float) -> Picture:
    """Attention weights, a square for each head.

    Args:
        shown: The weights.
        title: Title of their source.
        original: The original's weights, to compare with; None if there are none.
        brightest: The weight that is drawn brightest.
    """
    heads = shown.weights.shape[0]
    columns = min(heads, 4) if heads != 4 else 2
    rows = -(-heads // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for head, axes in enumerate(grid.flat):
            if head >= heads:
                axes.set_visible(False)
                continue
            axes.imshow(shown.weights[head], vmin=0, vmax=brightest, interpolation="nearest", aspect="auto")
            _bare(axes, f"head {head}" if heads > 1 else "")

    caption = title
    if original is not None and original is not shown and original.weights.shape == shown.weights.shape:
        differ = float(absolute_errors(original.weights, shown.weights).max(initial=0.0))
        caption += f": at most {differ:.2g} from {original.source}" if differ else f": equal to {original.source}"
    alt = f"Attention weights of {shown.layer}, {heads} heads, {caption}"
    return picture(draw, (1.25 * max(columns, 2), 1.25 * max(columns, 2) * rows / columns), alt, caption)


def layers(checks: Sequence[LayerCheck]) -> Picture:
    """The SQNR of an artifact's tensors, the worst first."""
    worst = sorted(checks, key=lambda check: check.sqnr_db)[:_MAX_LAYERS]
    ceiling = max((check.sqnr_db for check in worst if math.isfinite(check.sqnr_db)), default=100.0)
    lengths = [min(max(check.sqnr_db, 0.0), ceiling * 1.1) for check in worst]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = np.arange(len(worst))[::-1]
        axes.barh(places, lengths, color=[RED if check.sqnr_db < _POOR_DB else BLUE for check in worst], alpha=0.75)
        axes.set_yticks(places, [_shortened(f"{check.layer} {check.role}") for check in worst], fontsize=8)
        for place, length, check in zip(places, lengths, worst, strict=True):
            at = length + 0.01 * max(*lengths, 1.0)
            axes.text(at, place, decibels(check.sqnr_db), va="center", fontsize=7.5)
        axes.set_xlim(0, max(*lengths, 1.0) * 1.2)
        axes.set_xlabel("SQNR in dB")

    poorest = ", ".join(f"{check.layer} {check.role} {decibels(check.sqnr_db)}" for check in worst[:3])
    return picture(
        draw,
        (4.9, 0.7 + 0.24 * len(worst)),
        f"SQNR of the tensors inside, the worst first: {poorest}",
        "The tensors inside" + (f", the worst {_MAX_LAYERS} of {len(checks)}" if len(checks) > len(worst) else ""),
    )


def _shares(check: Check) -> Array:
    counts: Array = np.asarray(check.measured.histogram if check.measured else [0.0], np.float64)
    shares: Array = counts / max(counts.sum(), 1)
    return shares


def _finite(array: Array) -> Array:
    """NaN in place of infinities, which leaves a gap in the picture."""
    return np.where(np.isfinite(array), array, np.nan)


def _drawable(array: Array) -> bool:
    return bool(array.dtype.kind in "fiub" and array.ndim >= 1 and array.size > 1)


def _as_image(array: Array) -> Array:
    """A picture as it is, `[height, width, 1 or 3]`; else steps down, the values of a step across."""
    wide = np.asarray(array, np.float64)
    if _is_picture(wide):
        low, high = float(wide.min()), float(wide.max())
        scaled: Array = (wide - low) / (high - low) if high > low else np.zeros_like(wide)
        return scaled if wide.shape[-1] == 3 else scaled[..., 0]
    return wide.reshape(len(wide), -1) if wide.ndim > 1 else wide[None]


def _is_picture(array: Array) -> bool:
    return array.ndim == 3 and array.shape[-1] in (1, 3) and min(array.shape[:2]) >= 8


def _elongated(array: Array) -> bool:
    height, width = map(int, _as_image(array).shape[:2])
    return max(height, width) > 3 * min(height, width)


def _bare(axes: Axes, title: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=8)
    spines: Any = axes.spines
    spines[:].set_visible(False)


def _shortened(text: str, most: int = 34) -> str:
    return text if len(text) <= most else f"…{text[-most + 1 :]}"
