"""Confidence intervals of a score by the bootstrap over images (Efron, Tibshirani: "An Introduction to the Bootstrap", 1993).

A resample draws N of the N images, with replacement. The score of each resample is computed, pooled or per image. The middle
95 % of these scores are the interval (the percentile method, chapter 13). Two networks that are scored on the same images
are compared on the same draws; the interval is then that of the difference. Only images are resampled, so the interval does
not contain the variation between seeds of the training.

Two images, one class; the first image is predicted better:

>>> count = {"tp": np.array([[90], [60]]), "fp": np.array([[5], [20]]), "fn": np.array([[5], [20]])}
>>> samples = scores(count, draw(2, resamples=100), report_channels=[0])["iou_pooled"]
>>> tuple(round(end, 2) for end in interval(samples))
(0.6, 0.9)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax.evaluation import metrics

RESAMPLES = 2000
COUNTS = ("tp", "fp", "fn")


def draw(num_images: int, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draws resamples of N images.

    >>> draw(3, resamples=2).sum(1)
    array([3, 3])

    Args:
      num_images: N.
      resamples: the number of resamples.
      seed: of the draws; networks that are compared get the same one.

    Returns:
      How often each image is in each resample, int64 `[resamples, N]`; every row adds up to N.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=resamples)


def counts(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns `tp`, `fp`, `fn`, int64 `[N, K]`, of N rows of `evaluate` and K classes."""
    return {
        name: np.array([[row[f"{name}/{class_name}"] for class_name in class_names] for row in rows], np.int64)
        for name in COUNTS
    }


def scores(count: Mapping[str, np.ndarray], draws: np.ndarray, report_channels: Sequence[int]) -> dict[str, np.ndarray]:
    """Computes the scores of each resample: means over the reported classes, like those of `metrics.summarize`.

    Args:
      count: `tp`, `fp`, `fn` `[N, K]`.
      draws: `[R, N]`; see `draw`.
      report_channels: the channels of the reported classes.

    Returns:
      `iou_pooled`, `dice_pooled`, `iou_image`, `dice_image`, float64 `[R]`. As in `metrics`, a class that is absent from all
      images of a resample is left out of its mean; the mean is NaN only where all classes are absent.
    """
    pooled = metrics.ratios({name: draws @ np.asarray(count[name]) for name in COUNTS})
    per_class = {f"{metric}_pooled": values for metric, values in pooled.items()}
    per_class |= {f"{metric}_image": _means(values, draws) for metric, values in metrics.ratios(count).items()}
    return {name: metrics.nanmean(values[:, list(report_channels)], 1) for name, values in per_class.items()}


def interval(samples: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Returns the two ends of the interval that holds the middle part of the samples.

    Args:
      samples: `[R]`; those that are NaN are left out.
      level: the fraction of the samples between the ends.

    Returns:
      The lower and the upper end; NaN where all samples are NaN.
    """
    known = samples[~np.isnan(samples)]
    if not known.size:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(known, (tail, 1 - tail))
    return float(low), float(high)


def _means(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Returns the means over the images of each resample, without NaN: `[N, K]`, `[R, N]` -> `[R, K]`."""
    known = ~np.isnan(values)
    num = draws @ known.astype(np.int64)
    return (draws @ np.where(known, values, 0.0)) / np.where(num > 0, num, np.nan)
