"""The choice among the candidates that meet the goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from attnexport.core.errors import ModelError

from .trials import Trial, Trials

_MAX_FINALISTS = 8
_MIN_NOISE = 0.02  # of a latency ratio, even if float32 beside itself shows less


def choose(trials: Trials, *, confirm: bool, rounds: int = 300, seconds: float = 20.0) -> Trial | None:
    """The smallest file, or the fastest in a race of the finalists; of those within noise, the smallest.

    If latency is limited, finalists race for the smallest file, too, since each was measured in a few calls.

    Args:
        trials: All candidates.
        confirm: Measure the choice on all evaluation samples, since candidates were measured on some of them.
        rounds: Rounds of the race at most.
        seconds: Seconds of the race at most.
    """
    while met := sorted((each for each in trials.all if trials.goal.met_by(each.measured)), key=trials.rank):
        if trials.goal.objective == "latency":
            chosen = _fastest(trials, met, rounds, seconds)
        else:
            chosen = met[0] if trials.goal.max_latency_ms is None else _smallest_raced(trials, met, rounds, seconds)
        if not trials.goal.met_by(chosen.measured):
            return None  # in the race it took longer than the goal allows, and so did all others
        if not confirm:
            return chosen
        confirmed = trials.confirm(chosen)
        if trials.goal.met_by(confirmed.measured):
            return confirmed
    return None


def _fastest(trials: Trials, met: Sequence[Trial], rounds: int, seconds: float) -> Trial:
    smallest = min(met, key=lambda each: each.measured.size_bytes)
    racing, ratios, noise = _race(trials, [*met[:_MAX_FINALISTS], smallest], rounds, seconds)
    if not ratios:
        return met[0]
    tied = [each for each, ratio in zip(racing, ratios, strict=True) if ratio <= min(ratios) + noise]
    winner = min(tied, key=lambda each: (each.measured.size_bytes, -each.measured.sqnr_db, each.number))
    return trials.all[winner.number - 1]


def _smallest_raced(trials: Trials, met: Sequence[Trial], rounds: int, seconds: float) -> Trial:
    """The smallest finalist that is quick enough in the race as well; the fastest if none is."""
    fastest = min(met, key=lambda each: each.measured.latency_ratio or inf)
    racing, ratios, _ = _race(trials, [*met[:_MAX_FINALISTS], fastest], rounds, seconds)
    if not ratios:
        return met[0]
    raced = sorted((trials.all[each.number - 1] for each in racing), key=trials.rank)
    quick = [each for each in raced if trials.goal.met_by(each.measured)]
    return quick[0] if quick else min(raced, key=lambda each: each.measured.latency_ratio or inf)


def _race(
    trials: Trials, finalists: Sequence[Trial], rounds: int, seconds: float
) -> tuple[list[Trial], list[float], float]:
    """The finalists, their latencies over float32's, which the trials have from now on, and the noise of these.

    The latencies are empty if one of them crashed the process.
    """
    racing = [trials.all[number - 1] for number in dict.fromkeys(each.number for each in finalists)]
    try:
        float32, again, *medians = trials.race(racing, rounds=rounds, seconds=seconds)
    except ModelError:
        return racing, [], 0.0
    ratios = [each / float32 for each in medians]
    for each, ratio in zip(racing, ratios, strict=True):
        measured = replace(each.measured, latency_ratio=ratio, float_latency_ms=float32)
        trials.all[each.number - 1] = replace(each, measured=measured)
    return racing, ratios, max(_MIN_NOISE, abs(again / float32 - 1))
