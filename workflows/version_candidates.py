"""The artifacts of a version as candidates: what each costs in size and latency for its error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from attnexport.core import DEFAULT_SIGNATURE, Arrays, AttnexportError
from attnexport.core.latency import measure
from attnexport.parity.pareto import Candidate
from attnexport.parity.summary import summarize
from attnexport.store import VersionEntry

from .benchmark_inputs import choose_signature, same_calls

if TYPE_CHECKING:
    from attnexport.parity import Subject, Validation

_ROUNDS, _SECONDS = 100, 1.5  # of the latency loop


def version_candidates(
    entry: VersionEntry, verdict: Validation, subjects: Sequence[Subject] = ()
) -> tuple[Candidate, ...]:
    """The artifacts of a version as ways to ship the model, with size and error in `serving_default`.

    Args:
        entry: The version.
        verdict: Its validation.
        subjects: Its artifacts as Runners, to measure latencies with: of calls in turn with the same samples. Artifacts
            that do not run are then left out. Without Runners, latencies are 0.
    """
    latencies = _latencies(subjects)
    rows = summarize(verdict)
    candidates = []
    for artifact in entry.artifacts:
        own = [row for row in rows if row.artifact == artifact.path]
        measured = [row.figures for row in own if row.signature == DEFAULT_SIGNATURE and row.figures is not None]
        if not measured or (subjects and artifact.path not in latencies):
            continue
        worst = min(measured, key=lambda each: each.sqnr_db)
        candidates.append(
            Candidate(
                artifact.title,
                artifact.size_bytes,
                latencies.get(artifact.path, 0.0),
                worst.sqnr_db,
                worst.agreement,
                worst.accuracy,
                passed=all(row.passed for row in own),
            )
        )
    return tuple(candidates)


def _latencies(subjects: Sequence[Subject]) -> dict[str, float]:
    """Median milliseconds for a sample in `serving_default`, by artifact; those that do not run are left out."""
    first: dict[str, Subject] = {}
    for subject in subjects:
        first.setdefault(subject.artifact, subject)  # the session of a SavedModel, the interpreter of a .tflite
    runners = {path: each.runner for path, each in first.items() if each.runner.signatures}
    calls = dict(
        zip(runners, same_calls([choose_signature(each.signatures) for each in runners.values()]), strict=True)
    )
    runs: dict[str, Callable[[], Arrays]] = {}
    for path, call in calls.items():
        run = partial(runners[path].run, call.inputs(runners[path].signatures), call.signature)
        with suppress(AttnexportError):
            run()
            runs[path] = run
    latencies = measure(runs, rounds=_ROUNDS, seconds=_SECONDS) if runs else {}
    return {path: latency.p50_ms / calls[path].samples for path, latency in latencies.items()}
