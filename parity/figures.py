"""The one record of how far outputs are from the original's, and how people and programs read it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .columns import Columns


@dataclass(frozen=True)
class Figures:
    """How far one output, or the worst of several, is from the original's.

    The defaults are the figures of outputs that are equal: no error, and an infinite `sqnr_db`. That is the only form
    of "equal" in memory; JSON has no infinity and writes null (see `finite_json`). If nothing could be measured, there
    is not a `Figures` at all.

    Attributes:
        samples: Number of samples; 0 if no output holds floats, so that values are equal or wrong and have no error.
        max_error: Greatest absolute error, in the output's unit.
        index: Place of the greatest error; its first number counts samples from the first.
        expected: The original's value there.
        actual: The artifact's value there.
        max_relative_error: Greatest error relative to the original's value.
        relative_index: Place of the greatest relative error.
        mean_error: Mean absolute error, in the output's unit.
        rms_error: Root of the mean squared error, in the output's unit.
        scale: The original's largest finite magnitude.
        sqnr_db: Signal-to-quantization-noise ratio in dB: infinite if nothing differs, minus infinity if nothing of the
            signal is left.
        cosine_similarity: Cosine similarity of all values, 1 if they point the same way.
        out_of_tolerance: Share of values, 0 to 1, beyond the tolerance that was asked for.
        kl_divergence: Mean KL divergence of the softmaxed scores, in nats; None if the output is not rows of scores.
        agreement: Share of rows, 0 to 1, with the original's top-1 class; None if the output is not rows of scores.
        top_k_agreement: Share of rows whose original top class is among the artifact's top five.
        accuracy: Share of samples, 0 to 1, with the right class; None without labels.
        reference_accuracy: The original's accuracy.
        columns: How far its columns are; None if it was not measured by column.
        histogram: Number of errors between the edges `tally.EDGES`, below the first and above the last included.

    Example:
        >>> equal, off = Figures(samples=8), Figures(samples=8, max_error=0.25, sqnr_db=41.23, agreement=0.875)
        >>> print(equal)
        equal
        >>> print(off)
        SQNR 41.2 dB, agreement 0.8750
        >>> worst([equal, off]).max_error
        0.25
        >>> equal.to_dict("samples", "sqnr_db")
        {'samples': 8, 'sqnr_db': None}
    """

    samples: int = 0
    max_error: float = 0.0
    index: tuple[int, ...] = ()
    expected: float = 0.0
    actual: float = 0.0
    max_relative_error: float = 0.0
    relative_index: tuple[int, ...] = ()
    mean_error: float = 0.0
    rms_error: float = 0.0
    scale: float = 0.0
    sqnr_db: float = math.inf
    cosine_similarity: float = 1.0
    out_of_tolerance: float = 0.0
    kl_divergence: float | None = None
    agreement: float | None = None
    top_k_agreement: float | None = None
    accuracy: float | None = None
    reference_accuracy: float | None = None
    columns: Columns | None = None
    histogram: tuple[int, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs from the original."""
        return self.sqnr_db == math.inf

    @property
    def accuracy_drop(self) -> float | None:
        """Accuracy below the original's, in percentage points; None without labels.

        Rounded, since a share of a number of samples is not an exact number: 0.9 minus 0.895 is half a point, no more.
        """
        if self.accuracy is None or self.reference_accuracy is None:
            return None
        return round(100 * (self.reference_accuracy - self.accuracy), 9)

    def named(self, class_names: Sequence[str]) -> Figures:
        """The figures with the name of the worst column, if there is one for each."""
        columns = self.columns
        if columns is None or columns.worst is None or not columns.on_last_axis or len(class_names) != columns.count:
            return self
        label = class_names[columns.worst]
        return self if label == str(columns.worst) else replace(self, columns=replace(columns, label=label))

    def __str__(self) -> str:
        parts = ["equal" if self.is_equal else f"SQNR {decibels(self.sqnr_db)}"]
        if self.agreement is not None:
            parts.append(f"agreement {share(self.agreement)}")
        if self.accuracy is not None:
            drop = self.accuracy_drop or 0.0
            parts.append(f"accuracy {percentage(self.accuracy)}" + (f", {drop:.2f} points lost" if drop > 0 else ""))
        return ", ".join(parts)

    def to_dict(self, *names: str) -> dict[str, Any]:
        """Figures as JSON values, null if infinite: those with these names, or all without names."""
        document: dict[str, Any] = finite_json(asdict(self))
        document["columns"] = None if self.columns is None else self.columns.to_dict()
        return {name: document[name] for name in names} if names else document


def worst(figures: Iterable[Figures]) -> Figures | None:
    """The worst of each figure that a table shows; None without any."""
    several = list(figures)
    if not several:
        return None
    return Figures(
        samples=max(each.samples for each in several),
        max_error=max(each.max_error for each in several),
        sqnr_db=min(each.sqnr_db for each in several),
        agreement=_least(each.agreement for each in several),
        accuracy=_least(each.accuracy for each in several),
        columns=worst_columns(each.columns for each in several),
    )


def of_outputs(figures: Iterable[tuple[str, Figures]]) -> list[Figures]:
    """Figures by output, whose columns name their output if there is more than one: the worst of them is shown alone.

    Example:
        >>> columns = Columns(axis=1, count=3, judged=3, worst=2, sqnr_db=31.0)
        >>> [one, other] = of_outputs([("a", Figures(columns=columns)), ("b", Figures(columns=columns))])
        >>> column(one.columns), column(other.columns)
        ("2 of 'a': 31.0 dB", "2 of 'b': 31.0 dB")
    """
    pairs = list(figures)
    if len({output for output, _ in pairs}) < 2:
        return [each for _, each in pairs]
    return [
        each if each.columns is None else replace(each, columns=replace(each.columns, output=output))
        for output, each in pairs
    ]


def worst_columns(columns: Iterable[Columns | None]) -> Columns | None:
    """The columns of the worst output; None without any."""
    several = [each for each in columns if each is not None]
    return min(several, key=lambda each: (each.sqnr_db, -each.not_judged_count), default=None)


def decibels(sqnr_db: float | None) -> str:
    """An SQNR as people read it: `41.2 dB`, `equal`, or nothing if it was not measured.

    Example:
        >>> decibels(41.23), decibels(math.inf), decibels(None)
        ('41.2 dB', 'equal', '')
    """
    if sqnr_db is None:
        return ""
    return "equal" if sqnr_db == math.inf else f"{sqnr_db:.1f} dB"


def cells(figures: Figures | None) -> tuple[str, str, str, str, str]:
    """SQNR, the worst column, greatest error, agreement and accuracy as people read them; empty if not measured.

    Example:
        >>> cells(Figures(samples=8, max_error=0.25, sqnr_db=41.23, agreement=0.875))
        ('41.2 dB', '', '0.25', '0.8750', '')
    """
    if figures is None:
        return "", "", "", "", ""
    max_error = figures.max_error if figures.samples else None
    return (
        decibels(figures.sqnr_db),
        column(figures.columns),
        error(max_error),
        share(figures.agreement),
        percentage(figures.accuracy),
    )


def column(columns: Columns | None) -> str:
    """The worst column as a table has it: `3 (cat): 35.3 dB`; nothing if columns were not measured.

    Example:
        >>> column(Columns(axis=1, count=3, judged=3, worst=2, sqnr_db=-16.9, label="cat"))
        '2 (cat): -16.9 dB'
        >>> column(Columns(axis=1, count=3, judged=0, worst=None, sqnr_db=math.inf, not_judged=(("one sample", 3),)))
        'not judged'
    """
    if columns is None:
        return ""
    if columns.worst is None:
        return "not judged"
    return (
        "equal"
        if columns.sqnr_db == math.inf
        else f"{columns.place.removeprefix('column ')}: {decibels(columns.sqnr_db)}"
    )


def error(max_error: float | None) -> str:
    """An absolute error as people read it, such as `0.0031`; nothing if it was not measured."""
    return "" if max_error is None else f"{max_error:.2g}"


def share(value: float | None) -> str:
    """A share of samples, such as an agreement, as people read it: `0.9975`; nothing if it was not measured."""
    return "" if value is None else f"{value:.4f}"


def percentage(value: float | None) -> str:
    """An accuracy as people read it: `97.5%`; nothing if it was not measured."""
    return "" if value is None else f"{value:.1%}"


def finite_json(value: Any) -> Any:
    """JSON values in which every infinite or undefined number is null.

    Example:
        >>> finite_json({"sqnr_db": math.inf, "index": (1, 2)})
        {'sqnr_db': None, 'index': [1, 2]}
    """
    if isinstance(value, dict):
        return {key: finite_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _least(values: Iterable[float | None]) -> float | None:
    return min((each for each in values if each is not None), default=None)
