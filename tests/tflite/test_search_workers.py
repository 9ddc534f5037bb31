"""The precision search in earnest: children that quantize and measure, and what they survive."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attnexport.core import ModelError, Samples, SamplesError
from attnexport.core.child_process import Child
from attnexport.core.runner import batched
from attnexport.parity import Case, distance
from attnexport.tflite import RECIPES, LayerRule, Prepared, Recipe, TFLiteRunner, convert_prepared, prepare_calibration
from attnexport.tflite.conversion import quantized
from attnexport.tflite.graph import read_graph
from attnexport.tflite.metadata import ModelMetadata, add_metadata
from attnexport.tflite.search import Goal, SearchSpace, search
from attnexport.tflite.search import workers as workers_module
from attnexport.tflite.search.workers import Workers

pytestmark = pytest.mark.slow

INT4 = Recipe("auto", "int4", "dynamic", layers=(LayerRule("hidden", "int8", "dynamic"),))


@pytest.fixture(scope="module")
def prepared(conversions: dict[str, Any], samples: Any) -> Prepared:
    """The multi-head classifier, of whose float32 file the search is to come near."""
    model = conversions["float32"].content
    runner = TFLiteRunner(model)
    specs = runner.signatures["serving_default"].inputs
    calibration = prepare_calibration(Samples({"sequence": samples}), specs)
    cases = tuple(
        Case("held-out samples", calibration.held_out, name, batched(runner, calibration.held_out, signature=name))
        for name in sorted(runner.signatures, reverse=True)
    )
    return Prepared(model, read_graph(model), calibration, runner, runner.signatures, cases)


def test_a_child_measures_what_the_file_does(prepared: Prepared) -> None:
    metadata = ModelMetadata("classifier", 12, labels=("a", "b"))
    prepared = replace(prepared, options=replace(prepared.options, metadata=metadata))
    with Workers(prepared, None, SearchSpace(calibrators=("minmax",))) as workers:
        int8 = RECIPES["int8"].altered(calibrator="minmax")
        found = workers.measure([INT4, int8])
        few = workers.measure([INT4], "few")
        ms = workers.race([INT4], rounds=3, seconds=1.0)
    assert (len(ms), min(ms) > 0) == (3, True)
    for recipe, measured in zip([INT4, int8], found, strict=True):
        content = quantized(prepared, recipe)
        runner, worst = TFLiteRunner(content), []
        for case in prepared.cases:
            outputs = batched(runner, case.inputs, signature=case.signature)
            worst += [distance(wanted, outputs[name]).sqnr_db for name, wanted in (case.expected or {}).items()]
        written = add_metadata(content, replace(metadata, recipe="auto"))
        assert measured.size_bytes == len(written) > len(content), "as large as the file that is written"
        assert measured.sqnr_db == pytest.approx(min(worst))
        assert measured.figures is not None
        assert measured.figures.agreement is None  # the scores are of each step
        assert measured.latency_ratio is not None
    assert few[0].latency_ratio is None
    assert few[0].sqnr_db >= found[0].sqnr_db  # of the first signature alone


@pytest.fixture
def forked_children() -> None:
    """Children of their own here: a fork is not stopped with the program that stands for it."""


def test_a_child_that_dies_or_hangs_is_an_answer_and_another_one_goes_on(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workers(prepared, None, SearchSpace(calibrators=())) as workers:
        [before] = workers.measure([INT4])
        [child] = [each for each in workers._children if each.pid]
        assert child.pid is not None
        os.kill(child.pid, signal.SIGSEGV)
        [died] = workers.measure([INT4])
        assert died.problem == "it crashes the interpreter (signal 11)"
        [after] = workers.measure([INT4])
        assert (after.size_bytes, after.sqnr_db) == (before.size_bytes, before.sqnr_db)
        monkeypatch.setattr(child, "timeout", 0.2)
        os.kill(child.pid, signal.SIGSTOP)
        [hung] = workers.measure([INT4])
        assert hung.problem == "it hangs the interpreter: no reply within 0.2 s"
    assert all(child.pid is None for child in workers._children)


def test_what_the_quantizer_or_the_gate_refuses_is_no_candidate(prepared: Prepared) -> None:
    with Workers(prepared, None, SearchSpace(calibrators=("minmax",))) as workers:
        nothing = Recipe("auto", "int8", "int8", keep_float=(".",), calibrator="minmax")
        [refused] = workers.measure([nothing])
        [after] = workers.measure([INT4])
        assert len([child for child in workers._children if child.pid]) == 1
    assert (refused.problem or "").startswith("nothing in it is computed in int8")
    assert after.problem is None


def test_the_search_gives_the_file_that_its_recipe_gives(prepared: Prepared) -> None:
    goal = Goal(min_sqnr_db=26)
    found = search(prepared, goal)
    assert found.chosen is not None
    assert goal.met_by(found.chosen.measured)
    [conversion] = convert_prepared(prepared, found.recipe)
    assert len(conversion.content) == found.chosen.measured.size_bytes
    assert quantized(prepared, found.recipe) == conversion.content
    named = [each for each in found.trials if not each.changes and goal.met_by(each.measured)]
    assert found.chosen.measured.size_bytes <= min(each.measured.size_bytes for each in named)


def test_an_interruption_gives_the_best_so_far(prepared: Prepared) -> None:
    seen = []

    def on_trial(trial: Any, best: Any) -> None:
        seen.append((trial, best))
        if trial.number == 7:
            raise KeyboardInterrupt

    found = search(prepared, Goal(min_sqnr_db=26), on_trial=on_trial)
    assert found.interrupted
    assert len(found.trials) == 7
    assert found.chosen == seen[-1][1]
    assert not search(prepared, Goal(min_sqnr_db=26, max_size=10), on_trial=on_trial).chosen


@pytest.mark.parametrize(
    ("goal", "kind", "told"),
    [
        (Goal(max_accuracy_drop=1), SamplesError, "needs evaluation samples with 'labels'"),
        (Goal(min_agreement=0.9), ModelError, "agreement and accuracy need scores"),
    ],
)
def test_what_cannot_be_judged_is_said_before_anything_runs(
    goal: Goal, kind: type[Exception], told: str, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Child, "_start", None)
    with pytest.raises(kind, match=told):
        search(prepared, goal)


def test_exceptions_reach_their_operators_and_no_others(to_tflite: Callable[..., Any], samples: Any) -> None:
    """Fused operators have long names, of which another's may be the beginning: the float sum here, of the queries'."""
    import keras

    from attnexport.exporter import MultiHeadAttentionConcat

    rows = keras.Input(samples.shape[1:], name="sequence")
    x = keras.layers.Dense(32, name="in")(rows)
    y = keras.layers.Dense(32, name="out")(MultiHeadAttentionConcat(4, 32, 8, name="attention")(x))
    x = keras.layers.LayerNormalization(name="norm")(keras.layers.Add(name="sum")([x, y]))
    found = to_tflite(keras.Model(rows, keras.layers.Dense(10, name="logits")(x)), "int8", samples)["int8"]
    names = [
        subgraph.tensors[operator.outputs[0]].name
        for subgraph, operator in found.graph.operators
        if any(tensor.dtype == "float32" for tensor in subgraph.weights(operator))
    ]
    assert names == []


def test_few_samples_are_spread_over_all(prepared: Prepared) -> None:
    several = np.arange(1000).reshape(-1, 1)
    assert workers_module._spread(several, 4)[:, 0].tolist() == [0, 250, 500, 750]
    assert workers_module._spread(several[:3], 4) is not None
    assert len(workers_module._spread(several[:3], 4)) == 3
