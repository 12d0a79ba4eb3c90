"""How far predicted measurements agree with true ones: object by object, for each column.

Objects are matched as the scores of objects match them (`unet_jax.evaluation.instances`), at an IoU of at least `IOU`. Of the
pairs, the differences predicted - true are described as Bland and Altman do ("Statistical methods for assessing agreement
between two methods of clinical measurement", Lancet 1986): their mean is the bias, and 95 % of differences are expected within
bias ± 1.96 standard deviations, the limits of agreement. The bias has a 95 % interval, whose units are the images: objects of an
image are alike. Objects without a partner are counted, and left out of the differences.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax.evaluation.intervals import METHOD_UNBOUNDED, UNBOUNDED, mean_interval
from unet_jax.measurement.tables import Row

IOU = 0.5
# The part of a normal distribution within ± LIMIT standard deviations is 95 %.
LIMIT = 1.96
# Columns that name an object or a place.
NOT_COMPARED = ("image", "label", "class", "touches_border", "bbox-0", "bbox-1", "bbox-2", "bbox-3")


def compare(
    pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], class_name: str, num_true: int, num_predicted: int
) -> list[Row]:
    """Compares the measurements of the matched objects of a class.

    Args:
      pairs: the rows of a true and of a predicted object, of the same image; values are texts.
      class_name: of the objects.
      num_true: the number of true objects.
      num_predicted: the number of predicted objects.

    Returns:
      A row for each column: `class`, `column`, `num_true`, `num_predicted`, `num_matched`, the pairs that have the column, their
      `num_images`, `mean_true`, `bias`, its interval `bias_low` to `bias_high` by the method `interval`, `sd` of the differences,
      and the limits of agreement `limit_low` and `limit_high`; what needs more pairs or images is NaN.
    """
    rows: list[Row] = []
    for name in dict.fromkeys(name for true, _ in pairs for name in true if name not in NOT_COMPARED):
        # A grey image and one in colour have other columns of intensities, and a value may be unknown.
        measured = [pair for pair in pairs if pair[0].get(name) and pair[1].get(name)]
        if not measured:
            continue
        images = [pair[0]["image"] for pair in measured]
        true, predicted = (np.array([float(pair[side][name]) for pair in measured]) for side in (0, 1))
        differences = predicted - true
        if name == "orientation":
            # An axis has no direction.
            differences = (differences + np.pi / 2) % np.pi - np.pi / 2
        bias = float(differences.mean())
        low, high = mean_interval(differences, groups=images, bounds=UNBOUNDED)
        sd = float(differences.std(ddof=1)) if len(measured) > 1 else math.nan
        rows.append(
            {
                "class": class_name,
                "column": name,
                "num_true": num_true,
                "num_predicted": num_predicted,
                "num_matched": len(measured),
                "num_images": len(set(images)),
                "mean_true": float(true.mean()),
                "bias": bias,
                "bias_low": float(low),
                "bias_high": float(high),
                "interval": METHOD_UNBOUNDED,
                "sd": sd,
                "limit_low": bias - LIMIT * sd,
                "limit_high": bias + LIMIT * sd,
            }
        )
    return rows
