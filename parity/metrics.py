"""How far two arrays are apart: pure functions, in float64, NaN equal only to NaN at the same place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attnexport.core.signature import Array

from .figures import Figures


def absolute_errors(reference: Array, candidate: Array) -> Array:
    """|candidate - reference| element by element, infinite where a NaN or infinity meets anything but itself."""
    expected, actual = reference.astype(np.float64, copy=False), candidate.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        errors = np.abs(actual - expected)
    if np.isfinite(errors).all():  # as of all outputs but those with NaN or infinity
        return np.asarray(errors)
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    errors = np.where(same, 0.0, errors)
    return np.where(np.isnan(errors), np.inf, errors)


def distance(reference: Array, candidate: Array) -> Figures:
    """The errors of one array: the figures that need neither classes nor tolerances, in one pass.

    Args:
        reference: Floats of any shape; an empty array has no error.
        candidate: Floats of the same shape.

    Example:
        >>> figures = distance(np.array([3.0, -4.0, 5.0]), np.array([3.3, -4.4, 5.5]))
        >>> round(figures.sqnr_db, 6), round(figures.max_error, 6), figures.index
        (20.0, 0.5, (2,))
    """
    if not reference.size:
        return Figures()
    errors = absolute_errors(reference, candidate)
    place = np.unravel_index(int(errors.argmax()), errors.shape)
    magnitudes = np.abs(reference.astype(np.float64))
    magnitudes = magnitudes[np.isfinite(magnitudes)]
    return Figures(
        max_error=float(errors[place]),
        index=tuple(int(i) for i in place),
        mean_error=float(errors.mean()),
        rms_error=float(np.sqrt(np.square(errors).mean())),
        scale=float(magnitudes.max(initial=0.0)),
        sqnr_db=sqnr_db(float(np.square(magnitudes).sum()), float(np.square(errors).sum())),
    )


def sqnr_db(signal: float, noise: float) -> float:
    """Signal-to-quantization-noise ratio in dB from the two energies: 10 log10(signal / noise).

    Example:
        >>> sqnr_db(signal=100.0, noise=1.0)
        20.0
    """
    if noise == 0.0:
        return float("inf")
    if signal == 0.0 or not np.isfinite(noise):
        return float("-inf")
    return float(10.0 * np.log10(signal / noise))


def agreement(labels: Array, scores: Array) -> float:
    """Share of rows whose largest score is at the label: accuracy, or top-1 agreement.

    Args:
        labels: Classes, `[n]`.
        scores: `[n, classes]`.

    Example:
        >>> agreement(np.array([1, 0]), np.array([[0.1, 0.9], [0.2, 0.8]]))
        0.5
    """
    return float((scores.argmax(axis=-1) == labels).mean())


def scores_name(outputs: Mapping[str, Array]) -> str | None:
    """The first output by name that holds scores `[n, classes]`; None if none does."""
    return next((name for name in sorted(outputs) if is_scores(outputs[name])), None)


def is_scores(output: Array) -> bool:
    """Whether an output is floats `[n, classes]` of at least two classes."""
    return output.dtype.kind == "f" and output.ndim == 2 and output.shape[1] > 1


def relative_errors(reference: Array, candidate: Array, errors: Array | None = None) -> Array:
    """|candidate - reference| / |reference| element by element, 0 where nothing differs.

    Infinite from 0 to another, and where a NaN or infinity meets anything but itself. `errors` are the absolute ones,
    if they are known already.
    """
    errors = absolute_errors(reference, candidate) if errors is None else errors
    magnitudes = np.abs(reference.astype(np.float64, copy=False))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((errors == 0) | (errors == np.inf), errors, errors / magnitudes)


def out_of_tolerance(
    reference: Array, candidate: Array, *, rtol: float, atol: float, errors: Array | None = None
) -> Array:
    """Where |candidate - reference| exceeds atol + rtol |reference|, as in numpy's allclose with those names.

    `errors` are the absolute ones, if they are known already.
    """
    errors = absolute_errors(reference, candidate) if errors is None else errors
    if rtol == 0:
        return np.asarray(errors > atol)
    magnitudes = np.abs(reference.astype(np.float64, copy=False))
    return np.asarray(errors > atol + rtol * np.where(np.isfinite(magnitudes), magnitudes, 0.0))


def kl_divergences(reference: Array, candidate: Array) -> Array:
    """KL(softmax(reference) || softmax(candidate)) of each row `[..., classes]`, in nats.

    Source: Kullback and Leibler, "On Information and Sufficiency", 1951, equation 2.2.
    """
    log_p, log_q = (_log_softmax(each) for each in (reference, candidate))
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=-1))


def top_k_agreements(reference: Array, candidate: Array, k: int) -> Array:
    """Of each row `[..., classes]`, whether the reference's largest is among the candidate's `k` largest."""
    best = reference.argmax(axis=-1)[..., None]
    rivals = candidate > np.take_along_axis(candidate, best, axis=-1)
    return np.asarray(rivals.sum(axis=-1) < k)


def _log_softmax(scores: Array) -> Array:
    shifted = scores.astype(np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
