"""The greedy search from a uniform candidate: more precision until the goal is met, then less where it allows."""

from __future__ import annotations

from dataclasses import dataclass, field

from .families import Family, State
from .goal import Measurement
from .trials import Trial, Trials
from .units import Unit

_MIN_GAIN = 0.05  # dB or percentage points that a step must gain
_MAX_PREDICTED = 2.0  # times the noise that the goal allows; steps with more predicted noise are not tried
_MIN_SHARE = 0.5  # of the noise that a unit could lose
_MIN_BYTES = 64  # that a change costs, for the conversions around it


@dataclass
class _Climb:
    family: Family
    trials: Trials
    state: dict[Unit, int]
    now: Trial
    refused: set[tuple[Unit, int]] = field(default_factory=set)

    def noise(self, unit: Unit, at: int) -> float:
        return self.trials.noise(unit, self.family.ladders[unit][at], self.family.calibrator)

    def bytes_between(self, unit: Unit, low: int, high: int) -> int:
        ladder = self.family.ladders[unit]
        return max(unit.bytes_at(ladder[high]) - unit.bytes_at(ladder[low]), _MIN_BYTES)

    def attempt(self, unit: Unit, at: int) -> Trial:
        """The trial with one unit changed."""
        return measured(self.family, self.trials, {**self.state, unit: at})

    def accept(self, unit: Unit, at: int, trial: Trial) -> None:
        self.state[unit], self.now = at, trial


def climb(family: Family, trials: Trials) -> Trial:
    """Search among the changes of a uniform candidate.

    One unit after another is made more precise, the one whose noise falls most per byte first, until the losses are
    within the goal. A step that gains too little is undone. Then units are made less precise again, those that save
    most bytes for their noise first, as long as the goal holds.

    Raises:
        ExhaustedError: if the limit of trials is reached; the best is among them.
    """
    state = dict(family.first)
    climb = _Climb(family, trials, state, measured(family, trials, state))
    if _is_hopeless(climb):
        return climb.now
    trials.learn_noise(
        [(unit, level) for unit, ladder in family.ladders.items() for level in ladder[:-1]], family.calibrator
    )
    if _ascend(climb):
        _descend(climb)
    return climb.now


def measured(family: Family, trials: Trials, state: State) -> Trial:
    """The trial of a state."""
    changes = {level.name: tuple(unit.name for unit in units) for level, units in family.changes(state).items()}
    return trials.try_changed(family.start, family.recipe(state), changes)


def _ascend(climb: _Climb) -> bool:
    """Whether the losses came within the goal."""
    goal = climb.trials.goal
    while goal.loses_too_much(climb.now.measured):
        if _is_beaten(climb):
            return False
        steps = [step for unit in climb.state if (step := _step_up(climb, unit)) is not None]
        if not steps:
            return False
        _, unit, higher = max(steps, key=lambda step: step[0])
        trial = climb.attempt(unit, higher)
        if _gains_enough(climb, trial.measured):
            climb.accept(unit, higher, trial)
        else:
            climb.refused.add((unit, higher))
    return True


def _step_up(climb: _Climb, unit: Unit) -> tuple[float, Unit, int] | None:
    """Noise removed per byte, the unit, and its new place: the lowest that removes most of what can be removed."""
    at = climb.state[unit]
    gains = {
        higher: climb.noise(unit, at) - climb.noise(unit, higher)
        for higher in range(at + 1, len(climb.family.ladders[unit]))
        if (unit, higher) not in climb.refused
    }
    greatest = max(gains.values(), default=0.0)
    if greatest <= 0:
        return None
    higher = min(place for place, gain in gains.items() if gain >= _MIN_SHARE * greatest)
    return gains[higher] / climb.bytes_between(unit, at, higher), unit, higher


def _gains_enough(climb: _Climb, measured: Measurement) -> bool:
    before, after = (climb.trials.goal.loses_too_much(each) for each in (climb.now.measured, measured))
    if after == before:
        return measured.sqnr_db >= climb.now.measured.sqnr_db + _MIN_GAIN
    return after == 0 or after <= before - _MIN_GAIN


def _is_beaten(climb: _Climb) -> bool:
    """Whether further steps cannot be chosen, since every step up makes the file larger."""
    goal, size, best = climb.trials.goal, climb.now.measured.size_bytes, climb.trials.best
    if goal.max_size is not None and size > goal.max_size:
        return True
    return goal.objective == "size" and best is not None and size >= best.measured.size_bytes


def _is_hopeless(climb: _Climb) -> bool:
    """Whether no step in either direction can be chosen, even with every unit as small as it can be."""
    measured, best = climb.now.measured, climb.trials.best
    if climb.trials.goal.loses_too_much(measured):
        return _is_beaten(climb)
    saved = sum(
        max(unit.bytes_at(ladder[climb.state[unit]]) - min(map(unit.bytes_at, ladder)), 0)
        for unit, ladder in climb.family.ladders.items()
    )
    goal = climb.trials.goal
    return goal.objective == "size" and best is not None and measured.size_bytes - saved > best.measured.size_bytes


def _descend(climb: _Climb) -> None:
    goal = climb.trials.goal
    refused: set[tuple[Unit, int]] = set()
    while True:
        steps = [
            (
                (climb.noise(unit, lower) - climb.noise(unit, at)) / climb.bytes_between(unit, lower, at),
                unit,
                lower,
            )
            for unit, at in climb.state.items()
            for lower in range(at)
            if (unit, lower) not in refused and _is_hopeful(climb, unit, lower)
        ]
        if not steps:
            return
        _, unit, lower = min(steps, key=lambda step: step[0])
        trial = climb.attempt(unit, lower)
        if not goal.loses_too_much(trial.measured) and trial.measured.size_bytes < climb.now.measured.size_bytes:
            climb.accept(unit, lower, trial)
        else:
            refused.add((unit, lower))


def _is_hopeful(climb: _Climb, unit: Unit, lower: int) -> bool:
    """Whether the goal may hold with less precision of a unit, as far as its noise is known."""
    min_sqnr_db = climb.trials.goal.min_sqnr_db
    if min_sqnr_db is None:
        return True
    now = 10 ** (-climb.now.measured.sqnr_db / 10)
    predicted = now + climb.noise(unit, lower) - climb.noise(unit, climb.state[unit])
    return predicted <= _MAX_PREDICTED * float(10 ** (-min_sqnr_db / 10))
