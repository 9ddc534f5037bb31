"""The result of `benchmark`: latency, size and memory of artifacts, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .result import Block, Result, Table
from .sizes import kilobytes

if TYPE_CHECKING:
    from attnexport.core.latency import Latency

_MIN_FOR_P99 = 100  # calls; of fewer, the greatest says as much


@dataclass(frozen=True)
class ArtifactBenchmark:
    """The measurements of one artifact.

    Attributes:
        artifact: Its path, or the name of a model in memory.
        kind: What it is.
        samples: Samples in a call.
        inputs: Shapes of a call's inputs, by name.
        latency: Latency of a call.
        p50_ms_per_sample: Median latency of a sample, in ms.
        speed: The first artifact's `p50_ms_per_sample` over this one's.
        threads: Threads it ran on; None if TensorFlow had already chosen its own number.
        size_bytes: Size on disk; None for a model in memory.
        peak_memory_bytes: Peak memory of a process that loads and runs it once; None for a model in memory.
    """

    artifact: str
    kind: str
    samples: int
    inputs: Mapping[str, Sequence[int]]
    latency: Latency
    p50_ms_per_sample: float
    speed: float
    threads: int | None
    size_bytes: int | None
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class BenchmarkResult(Result):
    """Artifacts side by side. Figures of one run can be compared with each other, not with those of another run.

    Attributes:
        threads: Threads each artifact was given.
        artifacts: Measurements, in the order given.
        notes: What was not the same for all of them, a sentence each.
    """

    threads: int
    artifacts: tuple[ArtifactBenchmark, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "threads": self.threads,
            "notes": list(self.notes),
            "artifacts": [asdict(each) for each in self.artifacts],
        }

    def blocks(self) -> Sequence[Block]:
        rows = self.artifacts
        batches = len({row.samples for row in rows}) > 1
        shapes = len({str(sorted(list(shape)[1:] for shape in row.inputs.values())) for row in rows}) > 1
        many = all(row.latency.calls >= _MIN_FOR_P99 for row in rows)
        titles = ["p50", "p90", *["p99"] * many, "spread", *["samples", "a sample"] * batches, "speed"]
        right = (*titles, *["inputs"] * shapes, "threads", "size", "memory")
        place = _common_export(rows)
        cells = [
            (
                *(f"{each:.3f} ms" for each in (row.latency.p50_ms, row.latency.p90_ms)),
                *[f"{row.latency.p99_ms:.3f} ms"] * many,
                f"±{row.latency.spread:.0%}",
                *[str(row.samples), f"{row.p50_ms_per_sample:.3f} ms"] * batches,
                f"{row.speed:.2f}",
                *[", ".join(str(list(shape)) for shape in row.inputs.values())] * shapes,
                "own" if row.threads is None else str(row.threads),
                "" if row.size_bytes is None else kilobytes(row.size_bytes),
                "" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:,.0f} MB",
                row.artifact.removeprefix(place),
            )
            for row in rows
        ]
        unit = "of a sample, " if batches else ""
        few = "" if many else f" A p99 needs {_MIN_FOR_P99} calls of each."
        own = " Threads: TensorFlow's own number." if any(row.threads is None for row in rows) else ""
        return [
            *([f"in {place.rstrip('/')}\n"] if place else []),
            Table((*right, "artifact"), cells, right),
            f"\nSpeed is {unit}over that of {rows[0].artifact.removeprefix(place)}, "
            f"{rows[0].latency.calls} calls each, interleaved, after a warm-up."
            f" The spread is that of the middle 80 % of the calls.{few}{own}",
        ]


def _common_export(rows: Sequence[ArtifactBenchmark]) -> str:
    """The export that all artifacts are in, with a slash; empty if there is none."""
    roots = {each.artifact.rpartition(f"/{kind}/")[0] for each in rows for kind in [each.kind]}
    root = roots.pop() if len(roots) == 1 else ""
    return f"{root}/" if root and len(rows) > 1 else ""
