"""Which of several outputs labels are of: the one whose classes they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnexport.core.errors import ArgumentError, SamplesError, no_such
from attnexport.core.signature import Array

from .metrics import agreement, is_scores
from .tally import check_labels


def judged_output(
    outputs: Mapping[str, Array],
    labels: Array | None = None,
    *,
    chosen: str | None = None,
    class_names: Sequence[str] = (),
) -> str | None:
    """The output whose top class is compared with the original's, and with labels if there are some.

    Of the outputs that are scores `[n, classes]` it is the chosen one; else the one with as many classes as there are
    names or, without names, labels. If several have, or none has, it is the one for which the original is right most
    often. Without labels it is the first by name.

    Args:
        outputs: The original's outputs.
        labels: The right classes, `[n]`.
        chosen: The output that the user chose.
        class_names: Names of the classes.

    Returns:
        Its name; None if no output holds scores.

    Raises:
        ArgumentError: The chosen output does not exist, or does not hold scores.
        SamplesError: Labels are not classes of any output.

    Example:
        >>> import numpy as np
        >>> outputs = {"embedding": np.ones((2, 16)), "logits": np.array([[0.1, 0.9, 0.2], [0.2, 0.1, 0.8]])}
        >>> judged_output(outputs, np.array([1, 2])), judged_output(outputs, chosen="embedding")
        ('logits', 'embedding')
    """
    scores = {name: outputs[name] for name in sorted(outputs) if is_scores(outputs[name])}
    if chosen is not None:
        if chosen not in outputs:
            raise ArgumentError(no_such("output", chosen, sorted(outputs)))
        if chosen not in scores:
            raise ArgumentError(f"output {chosen!r} does not hold scores [n, classes], which labels are of")
        scores = {chosen: scores[chosen]}
    if not scores:
        return None
    if labels is None:
        named = [name for name, output in scores.items() if output.shape[1] == len(class_names)]
        return (named or list(scores))[0]
    fitting = {name: output for name, output in scores.items() if _fits(labels, output.shape[1])}
    if not fitting:
        widest = max(scores, key=lambda name: scores[name].shape[1])
        check_labels(labels, scores[widest].shape[1])
    classes = len(class_names) or int(labels.max(initial=0)) + 1
    exact = {name: output for name, output in fitting.items() if output.shape[1] == classes} or fitting
    return max(exact, key=lambda name: agreement(labels, exact[name])) if len(exact) > 1 else next(iter(exact))


def _fits(labels: Array, classes: int) -> bool:
    try:
        check_labels(labels, classes)
    except SamplesError:
        return False
    return True
