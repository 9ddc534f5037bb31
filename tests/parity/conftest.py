"""What the tests of the report share: one with everything in it, made by validating small models of numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from attnexport.core import Arrays, Signature, TensorSpec
from attnexport.parity import Batch, Subject, validate
from attnexport.parity.layers import AttentionMap, LayerCheck
from attnexport.parity.pareto import Candidate
from attnexport.parity.report import Change, ComparedData, Confusion, Report, WorstSample
from attnexport.store import Artifact, VersionEntry

SAMPLES = 40
LONG = "a-model-whose-name-nobody-would-want-to-type-in-a-shell-or-anywhere-else-because-it-is-so-very-long"


class Linear:
    """Scores of [8, 8] inputs by one matrix, which is off by noise; `broken` answers NaN."""

    signatures: ClassVar = {
        "serving_default": Signature(
            "serving_default",
            (TensorSpec("rows", "float32", (None, 8, 8)),),
            (TensorSpec("logits", "float32", (None, 10)),),
        )
    }

    def __init__(self, noise: float = 0.0, *, broken: bool = False) -> None:
        generator = np.random.default_rng(0)
        self._matrix = generator.standard_normal((64, 10)) + noise * generator.standard_normal((64, 10))
        self._broken = broken

    def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
        logits = (inputs["rows"].reshape(-1, 64) @ self._matrix).astype(np.float32)
        return {"logits": np.full_like(logits, np.nan) if self._broken else logits}

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture(scope="session")
def reports() -> dict[str, Report]:
    """Reports of a version that passed, one that failed in two ways, and one with as little as there can be."""
    rows = np.random.default_rng(1).random((SAMPLES, 8, 8)).astype(np.float32)
    noises = {"float32": 0.0, "float16": 1e-4, "dynamic": 1e-3, "int8": 1e-2}
    passed = _report(rows, {name: Linear(noise) for name, noise in noises.items()})
    failed = _report(rows, {"float32": Linear(), "int8": Linear(0.3), "int16x8": Linear(broken=True)}, name=LONG)
    many = [
        Candidate(f"int8, core {number}", 1000 * (20 + number), 0.5 / (1 + number), 20.0 + 7 * (number % 5), 0.99)
        for number in range(13)
    ]
    many += [Candidate("as it was", 90_000, 2.0, np.inf), Candidate("broken", 5_000, 0.1, -np.inf, passed=False)]
    failed = replace(failed, candidates=(replace(many[0], chosen=True), *many[1:]), notes=("<b>read</b> me",))
    classes = Confusion("Keras", ("<b>zero", "one"), np.array([[30, 2], [0, 8]]))
    changes = (
        Change("int8", (33_000, 40.0, 0.99, None), (31_000, 42.3, 1.0, None)),
        Change("int4", (19_000, 24.0, 0.98, None), (None, None, None, None)),
    )
    passed = replace(passed, searched=tuple(many), confusions=(classes,), against=1, changes=changes)
    bare = replace(
        passed,
        confusions=(),
        against=None,
        changes=(),
        candidates=(),
        searched=(),
        worst=(),
        layers=(),
        maps=(),
        environment={},
    )
    return {"passed": passed, "failed": failed, "bare": bare}


def _report(rows: np.ndarray[Any, Any], runners: dict[str, Linear], name: str = "digits") -> Report:
    paths = {recipe: f"tflite/1/{name}.{recipe}.tflite" for recipe in runners}
    subjects = [
        Subject(paths[recipe], runtime, recipe, runner)
        for recipe, runner in runners.items()
        for runtime in ("interpreter", "CompiledModel")
    ]
    labels = np.arange(SAMPLES) % 10
    batches = [
        Batch(f"{SAMPLES} evaluation samples", {"rows": rows}, labels=labels),
        Batch("zeros", {"rows": np.zeros_like(rows[:2])}, is_edge=True),
    ]
    result = validate(Linear(), subjects, batches)
    signatures = tuple(Linear.signatures.values())
    recipe_of = {recipe: {"name": recipe, "weights": "int8", "activations": "dynamic"} for recipe in runners}
    calibration = {"samples": 1400, "calibrator": "minmax", "content_hash": "sha256:1"}
    artifacts = tuple(
        Artifact("tflite", path, "sha256:" + "0" * 64, 20_000 + 999 * number, recipe, signatures, None, None,
                 recipe_of[recipe], calibration)
        for number, (recipe, path) in enumerate(paths.items())
    )  # fmt: skip
    candidates = tuple(
        Candidate(recipe, artifact.size_bytes, 0.02 * (1 + number), 120.0 - 30 * number, 1.0, 0.98)
        for number, (recipe, artifact) in enumerate(zip(runners, artifacts, strict=True))
    )
    worst = tuple(
        WorstSample(paths[recipe], "interpreter", "serving_default", "logits", 3, {"rows": rows[3]},
                    Linear().run({"rows": rows})["logits"][3], runner.run({"rows": rows})["logits"][3],
                    0.25, (7,))
        for recipe, runner in runners.items()
    )  # fmt: skip
    roles = ("query", "scores", "softmax", "context", "concatenation", "dense")
    sqnr = (15.0, -np.inf, 29.0, -3.0, 43.0, np.inf)
    layers = tuple(
        LayerCheck(paths["int8"], "attention", role, f"model/attention/{role}", (SAMPLES, 8, 8), each, 0.1)
        for role, each in zip(roles, sqnr, strict=True)
    )
    weights = np.random.default_rng(2).dirichlet(np.ones(8), (4, 8))
    maps = tuple(
        AttentionMap("attention", source, weights + error)
        for source, error in (("Keras", 0.0), (paths["float32"], 0.0), (paths["int8"], 0.004))
    )
    entry = VersionEntry(
        1,
        "2026-11-24T00:53:52+00:00",
        {"kind": "keras", "file": f"{name}.keras"},
        {"keras": "3.15"},
        "Keras",
        artifacts,
    )
    data = ComparedData(f"{SAMPLES} evaluation samples", SAMPLES, "sha256:" + "1" * 64)
    environment = {"Validated with": "python 3.11.2, attnexport 0.1.0", "On": "A processor, 2 of them"}
    return Report(name, entry, "2026-11-24T01:01:45+00:00", result, data, candidates, worst, layers, maps, environment)
