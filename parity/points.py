"""Percent points between two shares of samples."""


def points_lost(reference: float, candidate: float) -> float:
    """How far a share, 0 to 1, is below the original's, in percent points.

    Rounded, since a share of so and so many samples is no exact number: 0.9 less 0.895 are half a point, and no more.
    """
    return round(100 * (reference - candidate), 9)
