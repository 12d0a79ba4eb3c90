"""Intervals of overhangs, fitted on images whose true overhangs are known.

The error of an overhang grows with the width of the two ends: where the probability falls slowly, nobody knows well
where the plate ends. An ensemble, heads or views that disagree on the end make their mean fall slowly, too. So an interval
is

    overhang ± factor x scale,    scale = sqrt(fall_1^2 + fall_2^2),

with the columns in which each profile falls from three quarters to a quarter. The factor is the quantile of |error| / scale
over n known overhangs that split conformal prediction takes, the ceil((n + 1) level)-th smallest (Lei et al., "Distribution-free
predictive inference for regression", JASA 2018). Then an interval of another overhang from the same distribution holds
the truth with a probability of at least `level`.
"""

import math
from collections.abc import Sequence

import numpy as np

LEVEL = 0.9
# The least fall, in columns: a mask of zeros and ones falls within one column.
LEAST = 0.5


def scale(first: float, second: float) -> float:
    """Returns the scale of an overhang from the falls of the two plates; NaN if one is NaN.

    >>> scale(3.0, 4.0)
    5.0
    """
    return math.hypot(max(first, LEAST), max(second, LEAST)) if first == first and second == second else math.nan


def fit_factor(
    errors: Sequence[float] | np.ndarray, scales: Sequence[float] | np.ndarray, level: float = LEVEL
) -> float:
    """Returns the factor of the intervals.

    >>> fit_factor([1, -2, 3, 4, -5, 6, 7, 8, 9], [1] * 9)
    9.0

    Args:
      errors: of overhangs, in pixels.
      scales: of the same.
      level: the probability that an interval holds the truth.

    Returns:
      Infinite if there are too few overhangs for the level.
    """
    ratios = np.sort(np.abs(np.asarray(errors, np.float64)) / np.asarray(scales, np.float64))
    rank = math.ceil((len(ratios) + 1) * level)
    return float(ratios[rank - 1]) if rank <= len(ratios) else math.inf
