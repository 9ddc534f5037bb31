"""Validation: every artifact in every runtime against one original, in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attnexport.core.errors import AttnexportError
from attnexport.core.runner import Runner
from attnexport.core.signature import Arrays, Signature, fits

from .checks import Batch, Subject, Validation
from .limits import Limits
from .mismatch import is_float, not_finite
from .running import run_for_comparison
from .series import Series


def validate(
    reference: Runner,
    subjects: Sequence[Subject],
    batches: Iterable[Batch],
    *,
    limits: Limits | None = None,
    reference_name: str = "Keras",
    class_names: Sequence[str] = (),
    on_batch: Callable[[Batch], None] = lambda batch: None,
) -> Validation:
    """Run every batch through the original once, and through every subject that takes it.

    Args:
        reference: The original.
        subjects: What is compared with it.
        batches: The data, in any order; gone through once.
        limits: Limits beside and in place of the precisions' budgets.
        reference_name: What messages call the original.
        class_names: Names of the columns of an output that has as many, for tables and messages.
        on_batch: Called after each batch.

    Example:
        >>> import numpy as np
        >>> from attnexport.core import TensorSpec
        >>> class Scaled:
        ...     spec = TensorSpec("x", "float32", (None, 2))
        ...     signatures = {"serving_default": Signature("serving_default", (spec,), (spec,))}
        ...     def __init__(self, factor):
        ...         self.factor = np.float32(factor)
        ...     def run(self, inputs, signature="serving_default"):
        ...         return {"x": inputs["x"] * self.factor}
        >>> subjects = [Subject("a.int8.tflite", "interpreter", "int8", Scaled(1.01))]
        >>> verdict = validate(Scaled(1), subjects, [Batch("ones", {"x": np.ones((3, 2), np.float32)})])
        >>> bool(verdict), [str(check) for check in verdict.checks]
        (True, ["a.int8.tflite (interpreter), serving_default output 'x' on ones: passed"])
    """
    limits = limits or Limits()
    series: dict[tuple[int, str, str], Series] = {}
    for batch in batches:
        expected = _reference_outputs(reference, batch)
        if expected is None:
            on_batch(batch)
            continue
        for number, subject in enumerate(subjects):
            signature = subject.runner.signatures.get(batch.signature)
            if signature is None or (batch.is_edge and not subject.edge_cases):
                continue  # its gate reports the first
            other = batch.is_edge or narrows(signature, reference.signatures[batch.signature])
            if other and not takes(signature, batch.inputs):
                continue  # of other steps
            key = number, batch.signature, batch.case
            if key not in series:
                series[key] = Series(subject, batch, limits, class_names)
            series[key].add(batch, expected)
        on_batch(batch)
    checks = [check for each in series.values() for check in each.checks(reference)]
    return Validation(reference_name, tuple(checks))


def _reference_outputs(reference: Runner, batch: Batch) -> Arrays | None:
    """The original's outputs; None if it fails on an edge case, or gives NaN: nothing can be compared with that."""
    try:
        outputs = run_for_comparison(reference, batch.inputs, signature=batch.signature)
    except AttnexportError:
        if batch.is_edge:
            return None
        raise
    finite = all(not_finite(each) is None for each in outputs.values() if is_float(each))
    return outputs if finite or not batch.is_edge else None


def narrows(signature: Signature, original: Signature) -> bool:
    """Whether a signature fixes a size, apart from the batch, that the original leaves free."""
    free = {spec.name: spec.shape or () for spec in original.inputs}
    return any(
        size is None and fixed is not None
        for spec in signature.inputs
        for size, fixed in zip(free.get(spec.name, ())[1:], (spec.shape or ())[1:], strict=False)
    )


def takes(signature: Signature, inputs: Arrays) -> bool:
    """Whether a signature takes these inputs, in batches of its own."""
    wanted = {spec.name: spec.shape for spec in signature.inputs}
    if wanted.keys() != inputs.keys():
        return False
    return all(shape is None or fits(inputs[name].shape[1:], shape[1:]) for name, shape in wanted.items())
