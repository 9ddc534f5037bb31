"""Pictures of the price of a small error: size and latency of each candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING, Any

from attnexport.parity.figures import decibels
from attnexport.parity.pareto import Candidate, non_dominated

from .drawing import BLUE, GREY, ORANGE, RED, Picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_COVERED = 0.15  # of a name, by other names and marks, or outside of the picture
_MAX_NAMES = 12  # with more candidates the front is numbered, as in the table below the pictures
# Positions of a name, in points from its mark: first above on the left, where the front's line never runs.
_OFFSETS = [
    (-5, 4, "right", "bottom"),
    (6, -4, "left", "top"),
    (0, 7, "center", "bottom"),
    (-7, 0, "right", "center"),
    (7, 0, "left", "center"),
    *((0, y, "center", "bottom" if y > 0 else "top") for y in (-7, 18, -18, 28, -28)),
]


def trade_offs(candidates: Sequence[Candidate]) -> list[Picture]:
    """SQNR over size, and over latency if it was measured; no pictures without candidates."""
    if not candidates:
        return []
    timed = all(each.latency_ms > 0 for each in candidates)
    texts = [
        f"{each.name}: {each.size_bytes / 1000:.0f} kB, "
        + (f"{each.latency_ms:.3g} ms, " if timed else "")
        + decibels(each.sqnr_db)
        for each in candidates
    ]
    description = "; ".join(texts)
    sizes, latencies = [each.size_bytes / 1000 for each in candidates], [each.latency_ms for each in candidates]
    pictures = [_over(candidates, "size in kB", sizes, texts, f"SQNR over size. {description}")]
    if timed:
        what = "latency of a sample in ms"
        pictures.append(_over(candidates, what, latencies, texts, f"SQNR over latency. {description}"))
    return pictures


def _over(
    candidates: Sequence[Candidate], what: str, values: Sequence[float], texts: Sequence[str], alt: str
) -> Picture:
    front = non_dominated(candidates)
    finite = [each.sqnr_db for each in candidates if math.isfinite(each.sqnr_db)]
    top = max(finite, default=0.0) * 1.12 + 5  # the height of candidates that are equal
    bottom = min(finite, default=0.0) - 5  # and of those of which no signal is left
    heights = [
        each.sqnr_db if math.isfinite(each.sqnr_db) else top if each.sqnr_db > 0 else bottom for each in candidates
    ]

    points: list[tuple[float, float, str]] = []

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_xlabel(what)
        axes.set_ylabel("SQNR in dB")
        axes.grid(color=GREY, alpha=0.25, linewidth=0.5)
        best = [(x, y) for x, y, each in zip(values, heights, candidates, strict=True) if each in front]
        axes.step(*zip(*_edge(best), strict=True), where="post", color=BLUE, linewidth=1, alpha=0.5, zorder=1)
        for x, y, each in zip(values, heights, candidates, strict=True):
            axes.plot(x, y, **_mark(each, each in front))
        _room(axes, values, heights)
        if top in heights:
            axes.axhline(top, color=GREY, linewidth=0.5, linestyle=":", zorder=0)
            ticks = [tick for tick in axes.get_yticks() if min(heights) <= tick < top - 8]
            axes.set_yticks([*ticks, top], [*(f"{tick:g}" for tick in ticks), "equal"])
        axes.xaxis.set_major_formatter(_number)
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        _sparse_ticks(axes, values)
        numbered = len(candidates) > _MAX_NAMES
        labels = [str(number) if numbered else each.name for number, each in enumerate(candidates, 1)]
        # Of many, only these: more numbers could not be read.
        shown = [not numbered or each in front or each.chosen for each in candidates]
        _label(figure, axes, list(compress(zip(values, heights, labels, strict=True), shown)))
        for x, y, text in zip(values, heights, texts, strict=True):
            across, up = figure.transFigure.inverted().transform(axes.transData.transform((x, y)))
            points.append((round(100 * across, 2), round(100 - 100 * up, 2), text))

    drawn = picture(draw, (4.7, 3.3), alt, what.partition(" ")[0].capitalize() + " and error")
    return replace(drawn, points=tuple(points))


def _edge(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both figures, from left to right."""
    edge: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not edge or y > edge[-1][1]:
            edge.append((x, y))
    return edge


def _mark(candidate: Candidate, on_front: bool) -> dict[str, Any]:
    if candidate.chosen:
        return {"marker": "*", "markersize": 13, "color": ORANGE, "linestyle": "none", "zorder": 3}
    colour = RED if not candidate.passed else BLUE if on_front else GREY
    fill = colour if on_front and candidate.passed else "none"
    return {
        "marker": "o" if candidate.passed else "X",
        "markersize": 7,
        "markeredgecolor": colour,
        "markerfacecolor": fill,
        "linestyle": "none",
        "zorder": 2,
    }


def _room(axes: Axes, values: Sequence[float], heights: Sequence[float]) -> None:
    """Space around the points, for their names."""
    spread = max(max(values) / min(values), 1.5) ** 0.22
    axes.set_xlim(min(values) / spread, max(values) * spread)
    margin = 0.14 * (max(heights) - min(heights)) or 5.0
    axes.set_ylim(min(heights) - margin, max(heights) + margin)


def _sparse_ticks(axes: Axes, values: Sequence[float]) -> None:
    """A few round ticks: matplotlib draws none on a logarithmic axis of less than a decade."""
    low, high = axes.get_xlim()
    steps = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(inside if len(inside) > 1 else sorted({min(values), max(values)}))


def _number(value: float, _: Any) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _label(figure: Figure, axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write the names beside the points, where they overlap least."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    figure.draw_without_rendering()  # the layout has to be known before anything is measured
    placed = [_around(*axes.transData.transform((x, y))) for x, y, _ in points]
    frame = axes.get_window_extent(renderer)
    for x, y, text in points:
        note = axes.annotate(text, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=8)
        best: tuple[float, tuple[int, int, str, str]] = (math.inf, _OFFSETS[0])
        for offset in _OFFSETS:
            _put(note, offset)
            box = note.get_window_extent(renderer)
            covered = sum(_area(Bbox.intersection(box, other)) for other in placed)
            outside = box.width * box.height - _area(Bbox.intersection(box, frame))
            if covered + outside < best[0]:
                best = covered + outside, offset
        _put(note, best[1])
        box = note.get_window_extent(renderer)
        if best[0] > _MAX_COVERED * box.width * box.height:
            note.remove()  # the table has its name
            continue
        placed.append(box)


def _put(note: Any, offset: tuple[int, int, str, str]) -> None:
    x, y, side, place = offset
    note.set_position((x, y))
    note.set_horizontalalignment(side)
    note.set_verticalalignment(place)


def _around(x: float, y: float) -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.from_bounds(x - 5, y - 5, 10, 10)


def _area(box: Any) -> float:
    return 0.0 if box is None else float(box.width * box.height)
