"""The samples of an export: those that become warm-up records, and those that the gate compares."""

from __future__ import annotations

import os
from pathlib import Path

from attnexport.core.errors import ArgumentError
from attnexport.core.samples import Samples, load_samples, synthetic_samples
from attnexport.core.signature import Signature, TensorSpec
from attnexport.parity import Case

from .plan import ExportPlan
from .warmup import MAX_RECORDS

DEFAULT_WARMUP = 3
_GATE_SAMPLES = 64  # of the user's own samples, besides made up ones

# What the gate makes up: an odd batch, and a single sample of another length where steps are free.
_SYNTHETIC = ((3, 8), (1, 5))


def warmup_samples(plan: ExportPlan, warmup: int | str | os.PathLike[str] | None) -> tuple[Samples | None, list[str]]:
    """The samples to make warm-up records of, and notes on them.

    Args:
        plan: The export.
        warmup: Samples on disk, or how many synthetic ones; a few where None, unless a copied SavedModel has records.

    Returns:
        Samples, none of which is for no records; None leaves what is there.

    Raises:
        ArgumentError: for a number that TF Serving does not replay.
        SamplesError: where the samples do not fit.
    """
    if warmup is None and (plan.keeps_warmup or not plan.feeds):
        return None, []
    if warmup is None or isinstance(warmup, int):
        count = DEFAULT_WARMUP if warmup is None else warmup
        limit = _samples_limit(plan)
        if not 0 <= count <= limit:
            raise ArgumentError(
                f"warm-up takes 0 to {limit} samples for {len(plan.feeds)} signatures "
                f"(TF Serving replays {MAX_RECORDS} records at most); received {count}"
            )
        return synthetic_samples(plan.inputs, count, integers_below=plan.integers_below), []
    samples = load_samples(Path(warmup), plan.inputs, {old: new for new, old in plan.names.items()})
    notes, limit = list(samples.notes), _samples_limit(plan)
    if len(samples) > limit:
        notes.append(
            f"warm-up uses the first {limit} of {len(samples)} samples: "
            f"TF Serving replays {MAX_RECORDS} records at most, one a sample and signature"
        )
    return samples.take(limit), notes


def gate_cases(plan: ExportPlan, samples: Samples | None) -> list[Case]:
    """What the gate compares, for every signature whose inputs can be made up or were given."""
    cases = [case for signature in plan.signatures.values() for case in _synthetic_cases(plan, signature)]
    if samples is not None and len(samples):
        few = samples.take(_GATE_SAMPLES)
        title = f"{len(few)} warm-up samples"
        cases += [Case(title, feed(few.inputs), name) for name, feed in plan.feeds.items()]
    return cases


def _synthetic_cases(plan: ExportPlan, signature: Signature) -> list[Case]:
    feed = plan.feeds.get(signature.name)
    specs = plan.inputs if feed else signature.inputs
    if not feed and any(spec.dtype == "string" for spec in specs):
        return []  # what a string means to a graph (a tf.Example, a sentence) cannot be made up
    cases = []
    for count, free_size in _SYNTHETIC if _has_free_size(specs) else _SYNTHETIC[:1]:
        made_up = synthetic_samples(
            specs, count, seed=1, integers_below=plan.integers_below, free_size=free_size
        ).inputs
        cases.append(Case(f"{count} synthetic samples", feed(made_up) if feed else made_up, signature.name))
    return cases


def _has_free_size(specs: tuple[TensorSpec, ...]) -> bool:
    return any(spec.shape is None or None in spec.shape for spec in specs)


def _samples_limit(plan: ExportPlan) -> int:
    return MAX_RECORDS // max(len(plan.feeds), 1)
