"""The page: renders a Report as one HTML file that fetches nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnexport.core.printable import printable_value
from attnexport.parity.checks import Check
from attnexport.parity.figures import decibels, error, percentage, share
from attnexport.parity.layers import AttentionMap, LayerCheck
from attnexport.parity.pareto import non_dominated
from attnexport.parity.summary import TITLES, Summary, summarize
from attnexport.store.manifest import Artifact

from . import pictures
from .contents import Report
from .drawing import Picture
from .trade_off import trade_offs

_ORIGINAL = "Keras"  # source of the original's AttentionMap
_MAX_FAILURES = 50
_MAX_OPEN = 8  # sections of artifacts that are not folded


@dataclass(frozen=True)
class _Section:
    """The section of one artifact."""

    title: str
    artifact: Artifact
    rows: tuple[Summary, ...]
    drawn: tuple[Picture, ...]
    layers: tuple[LayerCheck, ...]

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs from the original."""
        return self.passed and all(row.figures is not None and row.figures.is_equal for row in self.rows if row.on_data)


def render(report: Report) -> str:
    """Render a report as the text of an HTML file, with all pictures in it.

    Example:
        >>> from attnexport.parity import Validation
        >>> from attnexport.parity.report import ComparedData
        >>> from attnexport.store import VersionEntry
        >>> entry = VersionEntry(1, "2026-01-01T00:00:00+00:00", {"kind": "preset"}, {}, "Keras", ())
        >>> data = ComparedData("64 synthetic samples", 64, "sha256:0", given=False)
        >>> text = render(Report("classifier", entry, "2026-01-02T00:00:00+00:00", Validation("Keras", ()), data))
        >>> "<title>classifier version 1: passed</title>" in text
        True
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=printable_value
    )
    environment.filters.update(
        decibels=decibels,
        error=error,
        share=share,
        percentage=percentage,
        kilobytes=_kilobytes,
        bytes_of=lambda size: "" if size is None else _kilobytes(size),
        short_hash=_short_hash,
        readable=_readable,
        moment=_moment,
    )
    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    failures = report.validation.failures
    return environment.from_string(template).render(
        report=report,
        validation=report.validation,
        failures=failures[:_MAX_FAILURES],
        more_failures=max(len(failures) - _MAX_FAILURES, 0),
        titles=TITLES,
        rows=summarize(report.validation),
        front_of=non_dominated,
        trade_offs=trade_offs,
        sections=list(_sections(report)),
        max_open=_MAX_OPEN,
        attention=list(_attention(report)),
    )


def _sections(report: Report) -> Iterator[_Section]:
    """The sections of the artifacts, failures first."""
    rows: dict[str, list[Summary]] = defaultdict(list)
    for row in summarize(report.validation):
        rows[row.artifact].append(row)
    compared = [each for each in report.entry.artifacts if each.path in rows]
    for artifact in sorted(compared, key=lambda each: all(row.passed for row in rows[each.path])):
        inside = tuple(sorted(_of(artifact, report.layers), key=lambda check: check.sqnr_db))
        yield _Section(
            artifact.title, artifact, tuple(rows[artifact.path]), tuple(_drawn(report, artifact, inside)), inside
        )


def _drawn(report: Report, artifact: Artifact, inside: Sequence[LayerCheck]) -> Iterator[Picture]:
    measured = _farthest(_of(artifact, report.validation.checks))
    differing = [check for check in measured if check.measured and check.measured.max_error > 0]
    if differing:
        yield pictures.histogram(differing)
    for worst in _of(artifact, report.worst) if differing else ():
        yield pictures.worst_sample(worst)
    if inside:
        yield pictures.layers(inside)


def _farthest(checks: Sequence[Check]) -> list[Check]:
    """For each signature and output, the check with the least SQNR on the data."""
    farthest: dict[tuple[str, str], Check] = {}
    for check in checks:
        key = check.signature, check.output
        if check.measured is None or check.is_edge or not check.measured.samples:
            continue
        best = farthest.get(key)
        if best is None or best.measured is None or check.measured.sqnr_db < best.measured.sqnr_db:
            farthest[key] = check
    return list(farthest.values())


def _attention(report: Report) -> Iterator[tuple[str, float, list[Picture]]]:
    """For each layer its greatest weight, which all maps are scaled to, and its maps, the original's first."""
    by_layer: dict[str, list[AttentionMap]] = defaultdict(list)
    for each in report.maps:
        by_layer[each.layer].append(each)
    for layer, maps in by_layer.items():
        ordered = sorted(maps, key=lambda each: each.source != _ORIGINAL)
        original = ordered[0] if ordered[0].source == _ORIGINAL else None
        greatest = max(float(each.weights.max(initial=0.0)) for each in ordered)
        artifacts = {each.source: report.entry.artifact_at(each.source) for each in ordered}
        titles = {source: artifact.title if artifact else source for source, artifact in artifacts.items()}
        yield layer, greatest, [pictures.attention(each, titles[each.source], original, greatest) for each in ordered]


def _of(artifact: Artifact, parts: Sequence[Any]) -> list[Any]:
    """The checks, worst samples or tensors of one artifact."""
    return [each for each in parts if each.artifact == artifact.path]


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.0f} kB" if size >= 10_000 else f"{size / 1000:,.1f} kB"


def _short_hash(text: str | None) -> str:
    return "" if text is None else text[: len("sha256:") + 12]


def _moment(text: str) -> str:
    """ISO 8601 in UTC as `2026-11-24 09:30 UTC`."""
    return f"{text[:16].replace('T', ' ')} UTC"


def _readable(value: Any) -> str:
    """A value of a manifest as people read it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "yes" if value is True else "no" if value is False else str(value)
