"""Validation: every artifact in every runtime against one original, in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attnexport.core.runner import Runner
from attnexport.core.signature import Arrays, Signature, fits

from .checks import Batch, Check, Subject, Validation
from .limits import Limits
from .reference import groups, outputs_in_few_calls, reference_outputs
from .series import Series


def validate(
    reference: Runner,
    subjects: Sequence[Subject],
    batches: Iterable[Batch],
    *,
    limits: Limits | None = None,
    reference_name: str = "Keras",
    class_names: Sequence[str] = (),
    in_few_calls: bool = False,
    on_batch: Callable[[Batch], None] = lambda batch: None,
) -> Validation:
    """Run every batch through the original, and through every subject that takes it.

    Args:
        reference: The original.
        subjects: What is compared with it.
        batches: The data, in any order; gone through once.
        limits: Limits beside and in place of the precisions' budgets.
        reference_name: What messages call the original.
        class_names: Names of the columns of an output that has as many, for tables and messages.
        in_few_calls: Run the original on several edge cases in one call, if that changes nothing. It pays if the
            original runs layer by layer.
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
    comparison = _Comparison(reference, subjects, limits or Limits(), class_names)
    for group in groups(batches):
        if not (in_few_calls and group[0].is_edge and comparison.add_in_few_calls(group)):
            for batch in group:
                comparison.add(batch, reference_outputs(reference, batch))
        for batch in group:
            on_batch(batch)
    return Validation(reference_name, tuple(comparison.checks()))


class _Comparison:
    """What is added up of every subject, on every case of every signature."""

    def __init__(
        self, reference: Runner, subjects: Sequence[Subject], limits: Limits, class_names: Sequence[str]
    ) -> None:
        self._reference, self._subjects, self._limits, self._class_names = reference, subjects, limits, class_names
        self._series: dict[tuple[int, str, str], Series] = {}
        self._judged: dict[tuple[int, str, str], list[Check]] = {}

    def add(self, batch: Batch, expected: Arrays | None) -> None:
        """Run every subject that takes a batch; none if there is nothing to compare it with."""
        if expected is None:
            return
        for number, subject in enumerate(self._subjects):
            signature = subject.runner.signatures.get(batch.signature)
            if signature is None or (batch.is_edge and not subject.edge_cases):
                continue  # its gate reports the first
            other = batch.is_edge or narrows(signature, self._reference.signatures[batch.signature])
            if other and not takes(signature, batch.inputs):
                continue  # of other steps
            key = number, batch.signature, batch.case
            if key not in self._series:
                self._series[key] = Series(subject, batch, self._limits, self._class_names)
            self._series[key].add(batch, expected)

    def add_in_few_calls(self, batches: Sequence[Batch]) -> bool:
        """Add edge cases of one signature with few calls of the original.

        Returns:
            Whether they passed. If not, nothing was added: each is to be compared with the original run alone.
        """
        expected = outputs_in_few_calls(self._reference, batches)
        if expected is None:
            return False
        tried = _Comparison(self._reference, self._subjects, self._limits, self._class_names)
        for batch in batches:
            tried.add(batch, expected[batch.case])
        tried._judge()
        if not all(check for checks in tried._judged.values() for check in checks):
            return False
        self._series |= tried._series
        self._judged |= tried._judged
        return True

    def checks(self) -> list[Check]:
        """The judgements, in the order in which the cases came."""
        self._judge()
        return [check for key in self._series for check in self._judged[key]]

    def _judge(self) -> None:
        for key, each in self._series.items():
            if key not in self._judged:
                self._judged[key] = each.checks(self._reference)


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
