"""The choice among the candidates that meet the goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attnexport.core.errors import ModelError

from .trials import Trial, Trials

_MAX_FINALISTS = 8
_MIN_NOISE = 0.02  # of a latency ratio, even if float32 beside itself shows less


def choose(trials: Trials, *, confirm: bool, rounds: int = 300, seconds: float = 20.0) -> Trial | None:
    """The smallest file, or the fastest in a race of the finalists; of those within noise, the smallest.

    Args:
        trials: All candidates.
        confirm: Measure the choice on all evaluation samples, since candidates were measured on some of them.
        rounds: Rounds of the race at most.
        seconds: Seconds of the race at most.
    """
    while met := sorted((each for each in trials.all if trials.goal.met_by(each.measured)), key=trials.rank):
        chosen = met[0] if trials.goal.objective == "size" else _fastest(trials, met, rounds, seconds)
        if not confirm:
            return chosen
        confirmed = trials.confirm(chosen)
        if trials.goal.met_by(confirmed.measured):
            return confirmed
    return None


def _fastest(trials: Trials, met: Sequence[Trial], rounds: int, seconds: float) -> Trial:
    smallest = min(met, key=lambda each: each.measured.size_bytes)
    finalists = list(dict.fromkeys([each.number for each in (*met[:_MAX_FINALISTS], smallest)]))
    racing = [trials.all[number - 1] for number in finalists]
    try:
        float32, again, *medians = trials.race(racing, rounds=rounds, seconds=seconds)
    except ModelError:  # one of them crashed the process
        return met[0]
    ratios = [each / float32 for each in medians]
    noise = max(_MIN_NOISE, abs(again / float32 - 1))
    for each, ratio in zip(racing, ratios, strict=True):
        trials.all[each.number - 1] = replace(each, measured=replace(each.measured, latency_ratio=ratio))
    tied = [each for each, ratio in zip(racing, ratios, strict=True) if ratio <= min(ratios) + noise]
    winner = min(tied, key=lambda each: (each.measured.size_bytes, -each.measured.sqnr_db, each.number))
    return trials.all[winner.number - 1]
