"""Models of others through `attnexport savedmodel`, `tflite` and `validate`, beside what other tools make of them.

Each model is exported, converted by every recipe, and validated on held-out samples. Each file is then run and compared
again by zoo_measure.py, which shares no code with attnexport. TFLiteConverter and litert-quantizer's own recipes make
the same of the same samples. Sizes, latencies and seconds are ratios of two sides of the same run.

    python benchmarks/zoo.py [--only NAME] [--output FILE.md] [--seconds N]

The rows of each model go to FILE.jsonl as soon as they are known, and a model that is in there is not measured again: a
run that was cut off goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from zoo_measure import (
    Array,
    Peers,
    latencies,
    least_r2,
    matched,
    run_tflite,
    sqnr_db,
)
from zoo_models import MODELS, Foreign
from zoo_trained import TRAINED

from attnexport.cli.terminal import Terminal
from attnexport.workflows.convert import convert
from attnexport.workflows.export import export_saved_model
from attnexport.workflows.validate import validate

RECIPES = ("float32", "dynamic", "int8", "int16x8", "int4")
BUDGETS = {"float32": 80.0, "dynamic": 25.0, "int8": 25.0, "int16x8": 40.0, "int4": 15.0}
LOST = 0.5  # R² below which a column is lost, by a measure of our own
LEAST = 100  # that is told of a negative R²
WELL = 0.95  # R² above which none is
CALIBRATION, EVALUATION = 120, 60
PACKAGES = ("attnexport", "tensorflow", "keras", "keras-hub", "ai-edge-litert", "litert-quantizer")


@dataclass
class Row:
    """One recipe of one model."""

    model: str
    family: str
    recipe: str
    verdict: str = ""
    said: float | None = None
    found: float | None = None
    r2: float | None = None
    size: float | None = None
    speed: float | None = None
    peers: dict[str, tuple[float, float]] = field(default_factory=dict)  # SQNR and size over ours
    seconds: float | None = None
    day: str = ""

    @property
    def judgement(self) -> str:
        """Whether the verdict is right by the other measure."""
        if self.found is None or self.r2 is None:
            return ""
        passed, budget = self.verdict == "passed", BUDGETS[self.recipe]
        if passed and (self.found < budget - 1 or self.r2 < LOST):
            return "FALSE PASS"
        if not passed and self.found > budget + 1 and self.r2 > WELL:
            return "FALSE ALARM"
        return "right"

    def cells(self) -> list[str]:
        """Its row of the table."""
        best = max(self.peers.items(), key=lambda each: each[1][0], default=None)
        beside = "" if best is None else f"{best[1][0]:.1f} dB, {best[1][1]:.2f} ({best[0]})"
        figures = [
            *("" if each is None else f"{each:.1f} dB" for each in (self.said, self.found)),
            "" if self.r2 is None else f"{self.r2:.2f}" if self.r2 > -LEAST else f"below -{LEAST}",
            *("" if each is None else f"{each:.2f}" for each in (self.size, self.speed)),
        ]
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        return [self.model, self.recipe, self.verdict, *figures, beside, seconds, self.judgement]


TITLES = [
    "model", "recipe", "verdict", "SQNR said", "SQNR measured", "least R²", "size", "speed", "best peer: SQNR, size",
    "time over theirs", "verdict is",
]  # fmt: skip


def examine(name: str, foreign: Foreign, directory: Path, peers: Peers) -> list[Row]:
    """All recipes of one model."""
    keras.utils.set_random_seed(0)
    model = foreign.build()
    calibration, evaluation = foreign.samples(CALIBRATION, 11), foreign.samples(EVALUATION, 12)
    expected = _outputs(model, evaluation)
    day = time.strftime("%-d %B %Y")
    rows = {recipe: Row(name, foreign.family, recipe, day=day) for recipe in RECIPES}
    given, held_out = (_named(model, each) for each in (calibration, evaluation))
    start = time.perf_counter()
    exported = export_saved_model(model, directory / "export", name="m")
    converted = convert(
        exported.directory,
        RECIPES,
        calibration=given,
        evaluation=held_out,
        steps=_steps(model, given),
        keep_failed=True,
    )
    ours = time.perf_counter() - start
    for rejected in converted.rejected:
        rows[rejected.recipe.name].verdict = f"refused: {str(rejected.error)[:90]}"
        kept = exported.directory / "failed" / f"{rejected.recipe.name}.failed.tflite"
        if kept.exists():
            _measure(rows[rejected.recipe.name], kept, held_out, expected)
    verdict = validate(exported.directory, evaluation=held_out)
    files = {}
    for each in converted.files:
        recipe = each.conversion.recipe.name
        files[recipe] = each.path
        row = rows[recipe]
        listed = f"tflite/1/{each.path.name}"
        failures = [check for check in verdict.verdict.failures if check.artifact == listed]
        row.verdict = "passed" if not failures else f"failed: {failures[0].problem}"
        row.said = None if each.evaluation is None else each.evaluation.sqnr_db
        _measure(row, each.path, held_out, expected)
    if "float32" in files:
        base = files["float32"].stat().st_size
        medians = latencies(files, held_out)
        for recipe, path in files.items():
            rows[recipe].size = path.stat().st_size / base
            rows[recipe].speed = medians["float32"] / medians[recipe]
    theirs = _peers(peers, model, rows, files, given, held_out, expected, directory)
    rows["float32"].seconds = ours / theirs if theirs else None
    failed = [check for check in verdict.verdict.failures if check.artifact.startswith("saved_model")]
    if failed:
        rows["float32"].verdict += f"; SavedModel: {failed[0]}"
    return list(rows.values())


def _peers(
    peers: Peers,
    model: keras.Model,
    rows: dict[str, Row],
    files: dict[str, Path],
    calibration: dict[str, Array],
    evaluation: dict[str, Array],
    expected: dict[str, Array],
    directory: Path,
) -> float:
    """TFLiteConverter and litert-quantizer on the same samples; gives the seconds that they took together."""
    saved_model, total = directory / "theirs", 0.0
    start = time.perf_counter()
    specs = [
        keras.InputSpec(shape=(1, *calibration[each.name].shape[1:]), dtype=each.dtype, name=each.name)
        for each in model.inputs
    ]
    by_name = {each.name: spec for each, spec in zip(model.inputs, specs, strict=True)}
    structure = model.input if not isinstance(model.input, dict) else None
    signature = [by_name] if structure is None else [specs] if len(specs) > 1 else specs
    model.export(saved_model, format="tf_saved_model", input_signature=signature, verbose=False)
    total += time.perf_counter() - start
    samples = [{name: array[at : at + 1] for name, array in calibration.items()} for at in range(CALIBRATION)]
    for recipe in RECIPES:
        for tool in ("TFLiteConverter", "litert-quantizer"):
            if (tool, recipe) in (("TFLiteConverter", "int4"), ("litert-quantizer", "float32")):
                continue
            source = saved_model if tool == "TFLiteConverter" else files.get("float32")
            target = directory / f"{tool}.{recipe}.tflite"
            if source is None:
                continue
            try:
                seconds, outputs = peers.make(tool, source, target, recipe, samples, evaluation)
                least = min(sqnr_db(*pair) for pair in matched(expected, outputs))
            except Exception as error:  # theirs may raise anything
                what = "crashes" if isinstance(error, ChildProcessError) else type(error).__name__
                rows[recipe].peers[f"{tool}: {what}"] = (-np.inf, 0.0)
                continue
            total += seconds
            own = files.get(recipe)
            ratio = target.stat().st_size / own.stat().st_size if own else 0.0
            rows[recipe].peers[tool] = (least, ratio)
    return total


def _measure(row: Row, path: Path, inputs: dict[str, Array], expected: dict[str, Array]) -> None:
    pairs = matched(expected, run_tflite(path, inputs))
    floats = [pair for pair in pairs if pair[0].dtype.kind == "f"]
    row.found = min(sqnr_db(*pair) for pair in floats)
    row.r2 = min(least_r2(*pair) for pair in floats)


def _steps(model: keras.Model, samples: dict[str, Array]) -> int | None:
    """What to fix free steps to."""
    free = [each.name for each in model.inputs if len(each.shape) > 1 and each.shape[1] is None]
    return samples[free[0]].shape[1] if free else None


def _named(model: keras.Model, samples: dict[str, Array]) -> dict[str, Array]:
    """Samples by the names of the model's inputs."""
    names = [each.name for each in model.inputs]
    return samples if set(names) == set(samples) else dict(zip(names, samples.values(), strict=True))


def _outputs(model: keras.Model, samples: dict[str, Array]) -> dict[str, Array]:
    inputs = list(samples.values())
    given: Any = samples if isinstance(model.input, dict) else inputs if len(inputs) > 1 else inputs[0]
    outputs = model.predict(given, verbose=0)
    if isinstance(outputs, dict):
        return {name: np.asarray(each) for name, each in outputs.items()}
    several = outputs if isinstance(outputs, list | tuple) else [outputs]
    return {f"output_{at}": np.asarray(each) for at, each in enumerate(several)}


def table(rows: list[Row], failures: dict[str, str], left: list[str]) -> str:
    """The rows as Markdown, with date and versions."""
    versions = ", ".join(f"{each} {version(each)}" for each in PACKAGES)
    lines = [
        f"Measured on {', '.join(dict.fromkeys(row.day for row in rows))} on a shared machine: Python "
        f"{platform.python_version()}, {versions}.",
        "",
        f"| {' | '.join(TITLES)} |",
        f"|{'---|' * len(TITLES)}",
        *(f"| {' | '.join(cell.replace('|', '/') for cell in row.cells())} |" for row in rows),
    ]
    lines += [f"\n{name}: {reason}" for name, reason in failures.items()]
    judged = [row for row in rows if row.judgement]
    wrong = [row for row in judged if row.judgement != "right"]
    models = len({row.model for row in rows})
    lines.append(f"\n{models} models, {len(rows)} files wanted, {len(judged)} judged, {len(wrong)} verdicts wrong.")
    if left:
        lines.append(f"\nNot measured: {', '.join(left)}.")
    return "\n".join(lines) + "\n"


def read_rows(path: Path) -> list[Row]:
    """The rows of earlier runs."""
    if not path.exists():
        return []
    documents = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Row(**{**each, "peers": {name: tuple(pair) for name, pair in each["peers"].items()}}) for each in documents]


def main() -> None:
    """Examine every model, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="Names of models; repeatable.")
    parser.add_argument("--output", type=Path, default=Path("zoo.md"), help="Where the table goes.")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Begin no model after this.")
    options = parser.parse_args()
    known = options.output.with_suffix(".jsonl")
    rows = read_rows(known)
    done = {row.model for row in rows}
    every = TRAINED | MODELS
    chosen = {name: every[name] for name in (options.only or every) if name not in done}
    failures: dict[str, str] = {}
    begun, peers = time.perf_counter(), Peers()
    for name, foreign in chosen.items():
        if time.perf_counter() - begun > options.seconds:
            break
        keras.backend.clear_session()
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as directory, Terminal().only_ours():
            try:
                made = examine(name, foreign, Path(directory), peers)
            except Exception as error:
                failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                traceback.print_exc()
                made = []
        rows += made
        with known.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in made)
        left = [each for each in every if each not in {row.model for row in rows} | failures.keys()]
        options.output.write_text(table(rows, failures, left), encoding="utf-8")
        print(f"{name}: {failures.get(name, 'done')}, {time.perf_counter() - start:.0f} s", flush=True)
    print(options.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
