"""What `attnexport validate` costs beside running every runtime once on the same samples.

Both sides in turn in one process, TensorFlow's import aside; each opens what it runs. The plain side runs every
signature of every artifact on the 397 held-out digits, and does nothing with the answers. Processor time is compared,
that of the child processes included: a busy machine changes it less than the time on a clock. The second ratio leaves
opening out: what remains above 1 are the edge cases, a call each of every signature in every runtime, and three of the
original.

    python benchmarks/validate.py [--rounds N]
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from attnexport import parity
from attnexport.cli.terminal import Terminal
from attnexport.core import Samples, batched, load_samples
from attnexport.examples.digits import LABELS, MULTIHEAD, train_digits
from attnexport.exporter import ModelSource, open_model, open_version
from attnexport.parity import Subject
from attnexport.store import ExportDirectory
from attnexport.workflows.convert import convert
from attnexport.workflows.export import export_saved_model
from attnexport.workflows.validate import validate
from attnexport.workflows.validation_data import Data, batches
from attnexport.workflows.validation_subjects import open_subjects

RECIPE_NAMES = ("float32", "float16", "dynamic", "int8")
BATCH = 256
AIM = 1.5


def export_digits(directory: Path) -> tuple[ExportDirectory, Path]:
    """The multi-head digits model as the demo exports it, and the samples held out."""
    trained = train_digits(directory / "digits")
    found = export_saved_model(
        trained.models[MULTIHEAD],
        directory / "export",
        output_names=["logits"],
        labels=LABELS,
        warmup=trained.calibration,
    )
    convert(found.directory, RECIPE_NAMES, calibration=trained.calibration)
    return ExportDirectory(found.directory), trained.evaluation


@dataclass(frozen=True)
class Opened:
    """A version's original and artifacts, open until the stack that they were opened with is closed."""

    original: ModelSource
    subjects: list[Subject]
    samples: Samples


def open_all(export: ExportDirectory, evaluation: Path, stack: ExitStack) -> Opened:
    """What both sides run."""
    entry = export.newest()
    original = stack.enter_context(closing(open_model(open_version(export, entry), labels=LABELS).in_float32()))
    return Opened(original, open_subjects(export, entry, stack), load_samples(evaluation, original.inputs))


def run_each_once(opened: Opened) -> None:
    """Every signature in every runtime, the original's included."""
    for name, feed in opened.original.feeds.items():
        inputs = feed(opened.samples.inputs)
        for runner in (opened.original.reference, *(each.runner for each in opened.subjects)):
            if name in runner.signatures:
                batched(runner, inputs, signature=name, batch_size=BATCH)


def compare(opened: Opened) -> None:
    """What validate does once everything is open."""
    data = Data(opened.samples, "held-out digits", given=True)
    found = parity.validate(
        opened.original.reference,
        opened.subjects,
        batches(opened.original, data, sorted(opened.original.feeds)),
        in_few_calls=opened.original.runs_by_layer,
    )
    assert found, found.failures[:3]


def open_and_run_each_once(export: ExportDirectory, evaluation: Path) -> None:
    """The plain side, from the files on."""
    with ExitStack() as stack:
        run_each_once(open_all(export, evaluation, stack))


def run_validate(export: ExportDirectory, evaluation: Path) -> None:
    """As the command does it, with the verdicts written into the manifest."""
    result = validate(export.root, evaluation=evaluation)
    assert result, result.failure


def spent() -> float:
    """The processor time of this process and of its children that ended, in seconds."""
    return sum(os.times()[:4])


def ratio(what: str, plain: Callable[[], None], ours: Callable[[], None], rounds: int, most: float | None) -> str:
    """Both sides in turn; the median of the pairs' ratios in words, with what was aimed at where something was."""
    pairs = []
    for number in range(rounds + 1):
        times = []
        for side in (plain, ours):
            start = spent()
            side()
            times.append(spent() - start)
        if number:  # the first fills caches
            pairs.append((times[0], times[1]))
    ratios = [ours / plain for plain, ours in pairs]
    found, seconds = statistics.median(ratios), statistics.median(plain for plain, _ in pairs)
    aim = "" if most is None else f"at most {most:g}; "
    missed = ", MISSED" if most is not None and found > most else ""
    spread = f"{min(ratios):.2f} to {max(ratios):.2f} over {rounds} rounds"
    return f"  {what}, processor time over running each once ({seconds:.2f} s): {found:.2f} ({aim}{spread}){missed}"


def main() -> None:
    """Measure both sides in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    gc.set_threshold(50_000, 10, 10)  # as the command does
    with tempfile.TemporaryDirectory() as directory, Terminal().only_ours():
        export, evaluation = export_digits(Path(directory))
        told = [
            ratio(
                "validate",
                lambda: open_and_run_each_once(export, evaluation),
                lambda: run_validate(export, evaluation),
                rounds,
                AIM,
            )
        ]
        with ExitStack() as stack:
            opened = open_all(export, evaluation, stack)
            told.append(
                ratio("the comparison alone", lambda: run_each_once(opened), lambda: compare(opened), rounds, None)
            )
    print("\n".join(told))


if __name__ == "__main__":
    main()
