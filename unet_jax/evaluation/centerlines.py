"""clDice, which asks whether thin structures are found in their whole length and stay connected.

Shit et al.: "clDice - a Novel Topology-Preserving Loss Function for Tubular Structure Segmentation" (CVPR 2021). S_P and S_L are the
skeletons of the predicted mask V_P and of the true mask V_L:

    precision = |S_P ∩ V_L| / |S_P|        sensitivity = |S_L ∩ V_P| / |S_L|
    clDice = 2 precision * sensitivity / (precision + sensitivity)

A skeleton is that of `skimage.morphology.skeletonize`, as in the authors' code: one pixel wide, in the middle of the structure,
but for a pixel at its ends. So a thin line that is predicted too wide scores nearly 1. One with a gap loses by the length of
the gap.

Where neither mask has a pixel, clDice is NaN and is left out of means. Where only one has, it is 0. Void pixels are outside
both masks.

>>> true, broken = np.zeros((2, 9, 20), bool)
>>> true[3:6, 2:18], broken[3:6, [*range(2, 8), *range(12, 18)]] = True, True
>>> round(float(cldice(counts(true, broken))), 2)
0.85
"""

from collections.abc import Mapping

import numpy as np
import skimage.morphology
from numpy.typing import ArrayLike

COUNTS = ("skeleton_predicted", "predicted_inside", "skeleton_true", "true_inside")


def counts(true: np.ndarray, predicted: np.ndarray, valid: np.ndarray | None = None) -> dict[str, int]:
    """Counts the pixels of the skeletons of two masks, and those inside the other mask.

    Those of several images add up to their pooled clDice.

    Args:
      true: bool `[H, W]`.
      predicted: bool `[H, W]`.
      valid: False for void pixels, bool `[H, W]`; None if there are none.

    Returns:
      `skeleton_predicted`, |S_P|; `predicted_inside`, |S_P ∩ V_L|; `skeleton_true`, |S_L|; `true_inside`, |S_L ∩ V_P|.
    """
    if valid is not None:
        true, predicted = true & valid, predicted & valid
    of_true, of_predicted = (skimage.morphology.skeletonize(mask) for mask in (true, predicted))
    pixels = (of_predicted, of_predicted & true, of_true, of_true & predicted)
    return {name: int(where.sum()) for name, where in zip(COUNTS, pixels, strict=True)}


def cldice(count: Mapping[str, ArrayLike]) -> np.ndarray:
    """Computes clDice, float64, of the results of `counts`, added up or stacked; NaN where there is no skeleton."""
    predicted, predicted_inside, true, true_inside = (np.asarray(count[name], np.float64) for name in COUNTS)
    precision = predicted_inside / np.where(predicted > 0, predicted, 1)
    sensitivity = true_inside / np.where(true > 0, true, 1)
    both = precision + sensitivity
    score = 2 * precision * sensitivity / np.where(both > 0, both, 1)
    return np.where(predicted + true > 0, score, np.nan)
