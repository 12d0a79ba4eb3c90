"""How far predicted measurements agree with true ones: object by object, for each column.

Objects are matched by their IoU. With a threshold of 0.5 each has at most one partner, apart from two halves of an object, of which
the first is taken. Of the pairs, the differences predicted - true are described as Bland and Altman do ("Statistical methods for
assessing agreement between two methods of clinical measurement", Lancet 1986): their mean is the bias, and 95 % of differences are
expected within bias ± 1.96 standard deviations, the limits of agreement. Objects without a partner are counted, and left out of
the differences.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax.measurement.tables import Row

IOU = 0.5
# The part of a normal distribution within ± LIMIT standard deviations is 95 %.
LIMIT = 1.96
# Columns that name an object or a place.
NOT_COMPARED = ("image", "label", "class", "touches_border", "bbox-0", "bbox-1", "bbox-2", "bbox-3")


def match(true: np.ndarray, predicted: np.ndarray, threshold: float = IOU) -> list[tuple[int, int, float]]:
    """Returns pairs of objects whose IoU is at least a threshold.

    >>> match(np.array([[1, 1, 2, 2]]), np.array([[5, 0, 7, 7]]))
    [(1, 5, 0.5), (2, 7, 1.0)]

    Args:
      true: the number of the object of each pixel, `[H, W]`; 0 for none.
      predicted: likewise.
      threshold: at least 0.5.

    Returns:
      The number of the true and of the predicted object, and their IoU. Each object is in one pair at most.
    """
    true_areas, predicted_areas = np.bincount(true.ravel()), np.bincount(predicted.ravel())
    both = (true > 0) & (predicted > 0)
    pairs, shared = np.unique(np.stack([true[both], predicted[both]], -1), axis=0, return_counts=True)
    iou = shared / (true_areas[pairs[:, 0]] + predicted_areas[pairs[:, 1]] - shared)
    matched: list[tuple[int, int, float]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for index in np.argsort(-iou, kind="stable"):
        one, other = pairs[index].tolist()
        if iou[index] >= threshold and one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            matched.append((one, other, float(iou[index])))
    return sorted(matched)


def compare(
    pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], class_name: str, num_true: int, num_predicted: int
) -> list[Row]:
    """Compares the measurements of the matched objects of a class.

    Args:
      pairs: the rows of a true and of a predicted object; values are texts.
      class_name: of the objects.
      num_true: the number of true objects.
      num_predicted: the number of predicted objects.

    Returns:
      A row for each column: `class`, `column`, `num_true`, `num_predicted`, `num_matched`, `mean_true`, `bias`, `sd` of the
      differences, and the limits of agreement `limit_low` and `limit_high`; what needs more pairs is NaN.
    """
    names = [name for name in pairs[0][0] if name in pairs[0][1] and name not in NOT_COMPARED] if pairs else []
    rows: list[Row] = []
    for name in names:
        true, predicted = (np.array([float(pair[side][name]) for pair in pairs]) for side in (0, 1))
        differences = predicted - true
        if name == "orientation":
            # An axis has no direction.
            differences = (differences + np.pi / 2) % np.pi - np.pi / 2
        bias = float(differences.mean())
        sd = float(differences.std(ddof=1)) if len(pairs) > 1 else math.nan
        rows.append(
            {
                "class": class_name,
                "column": name,
                "num_true": num_true,
                "num_predicted": num_predicted,
                "num_matched": len(pairs),
                "mean_true": float(true.mean()),
                "bias": bias,
                "sd": sd,
                "limit_low": bias - LIMIT * sd,
                "limit_high": bias + LIMIT * sd,
            }
        )
    return rows
