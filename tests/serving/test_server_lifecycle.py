"""The table of a version's life: what it allows, and that nothing else happens."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from attnexport.core.errors import ModelError
from attnexport.serving.messages import SignatureDefMap
from attnexport.serving.server import Code, StatusError
from attnexport.serving.server.versions import TRANSITIONS, Event, ServedVersion, State, VersionStatus
from tests.waiting_model import WaitingModel


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_a_version_takes_the_transitions_of_the_table_and_no_others(state: State, event: Event) -> None:
    before = VersionStatus(1, state)
    if (state, event) in TRANSITIONS:
        assert before.after(event).state is TRANSITIONS[state, event]
    else:
        with pytest.raises(ValueError, match=f"no transition from {state.name} on {event.name}"):
            before.after(event)


def test_every_life_ends_and_no_ended_version_comes_back() -> None:
    assert not any(state is State.END for state, _ in TRANSITIONS)
    reached = {State.START}
    for _ in State:
        reached |= {after for (state, _), after in TRANSITIONS.items() if state in reached}
    assert reached == set(State) - {State.UNKNOWN}
    for state in reached - {State.END}:
        later = {state}
        for _ in State:
            later |= {after for (before, _), after in TRANSITIONS.items() if before in later}
        assert State.END in later


def test_definitions_are_read_once_a_version() -> None:
    version, model = ServedVersion("m", 1, Path("1"), ()), WaitingModel()
    version.attach(model, None)
    described = SignatureDefMap.FromString(model.definitions).signature_def["serving_default"]
    assert version.definition("serving_default") == described
    model.definitions = b""
    assert version.definition("serving_default") == described
    version.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [(StatusError(Code.NOT_FOUND, "gone"), Code.NOT_FOUND), (ModelError("damaged"), Code.UNKNOWN)],
)
def test_a_failure_leaves_its_code_and_message(error: Exception, code: Code) -> None:
    version = ServedVersion("m", 1, Path("1"), ())
    version.advance(Event.LOAD)
    version.advance(Event.FAIL, error)
    assert version.status == VersionStatus(1, State.END, code, str(error))
    assert not version.acquire()
