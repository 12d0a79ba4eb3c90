"""Says whether the uncertainty of an image predicts that its score is low.

An image is a *failure* if its IoU is among the lowest 20 % of the images. Whoever looks at the least certain images first wants to
find the failures early:

- *rank correlation* (Spearman 1904) of the certainty with the true IoU: 1 if the two orders are the same, 0 if they have nothing
  in common;
- *risk and coverage* (Geifman, El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017): of the images, the
  least certain x % are looked at; the table says which part of the failures is among them, and the mean IoU of the others.

>>> iou = np.array([0.9, 0.2, 0.8, 0.7, 0.6])
>>> table = risk_coverage(certainty=-iou, iou=iou, looked_at=(0.2, 1.0))
>>> [(row["looked_at"], row["failures_found"], round(row["iou_of_the_others"], 3)) for row in table]
[(0.2, 0.0, 0.575), (1.0, 1.0, nan)]
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax.evaluation.metrics import nanmean
from unet_jax.inference.uncertainty import MEASURES
from unet_jax.plotting.text_table import format_table

FAILURES = 0.2
LOOKED_AT = (0.1, 0.2, 0.3, 0.5)


def describe_failures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compares the measures of uncertainty with the true IoU of each image.

    Images without any of the reported classes have no IoU and are left out.

    Args:
      rows: the rows of `evaluate`, with `MEASURES`.

    Returns:
      `num_images`, and `measures`: for each measure that every image has, `spearman`, and `risk_coverage`, the result of
      that function.
    """
    scored = [row for row in rows if not math.isnan(row["iou/mean"])]
    iou = np.array([row["iou/mean"] for row in scored])
    described = {}
    for name in MEASURES:
        values = np.array([row[name] for row in scored])
        if np.isnan(values).all():
            continue
        # Pairwise Dice is high where the members agree; the others are high where they do not. An image without Dice has no object
        # that a member finds, so nothing is uncertain.
        certainty = np.where(np.isnan(values), 1.0, values) if name == "pairwise_dice" else -values
        described[name] = {"spearman": spearman(certainty, iou), "risk_coverage": risk_coverage(certainty, iou)}
    return {"num_images": len(scored), "measures": described}


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Returns Spearman's rank correlation, -1 to 1; NaN for fewer than two values, or where all values of one are equal.

    Values that are equal share the mean of their ranks.

    >>> spearman(np.array([1, 2, 3]), np.array([1, 4, 9])), spearman(np.array([1, 2]), np.array([5, 5]))
    (1.0, nan)

    Args:
      first: `[N]`.
      second: `[N]`.
    """
    from scipy.stats import rankdata

    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    scale = math.sqrt(float(np.square(ranks[0]).sum() * np.square(ranks[1]).sum()))
    return float(ranks[0] @ ranks[1]) / scale if scale else float("nan")


def risk_coverage(
    certainty: np.ndarray, iou: np.ndarray, looked_at: Sequence[float] = LOOKED_AT
) -> list[dict[str, float]]:
    """Returns what is found by looking at the least certain images.

    Args:
      certainty: of each image, `[N]`. Of images that are as certain as each other, the first ones are looked at first.
      iou: the true score of each image, `[N]`. The failures are the images up to the 20th percentile of it.
      looked_at: fractions of the images, rounded up to whole images.

    Returns:
      For each fraction `looked_at`, `num_looked_at`, `failures_found`, the fraction of the failures among these images, and
      `iou_of_the_others`, the mean IoU of the other images.
    """
    if not len(iou):
        return []
    failed = iou <= np.quantile(iou, FAILURES, method="inverted_cdf")
    order = np.argsort(certainty, kind="stable")
    table = []
    for fraction in looked_at:
        # 0.3 x 10 is a little more than 3 in floating point.
        num = math.ceil(round(fraction * len(iou), 9))
        seen, others = order[:num], order[num:]
        found = float(failed[seen].sum() / failed.sum())
        row = {"looked_at": fraction, "num_looked_at": num, "failures_found": found}
        table.append(row | {"iou_of_the_others": float(nanmean(iou[others]))})
    return table


def format_failures(described: Mapping[str, Any]) -> str:
    """Returns the result of `describe_failures` as text: a row for each measure."""
    measures = described["measures"]
    if not measures:
        return "no image has a reported class, so its uncertainty cannot be compared with its IoU"
    fractions = [row["looked_at"] for row in next(iter(measures.values()))["risk_coverage"]]
    rows = [("uncertainty", "rank corr.", *(f"worst {fraction:.0%}" for fraction in fractions))]
    for name, measure in measures.items():
        cells = [f"{row['failures_found']:.0%} ({row['iou_of_the_others']:.3f})" for row in measure["risk_coverage"]]
        correlation = measure["spearman"]
        rows.append((name, "-" if math.isnan(correlation) else f"{correlation:.3f}", *cells))
    return (
        f"{format_table(rows, rules=(1,))}\n"
        "rank corr.: Spearman's, of certainty and true IoU. worst x %: the failures (the lowest 20 % by IoU) among the least "
        "certain x % of the images; in brackets the mean IoU of the others"
    )
