"""Confidence intervals of a score by the bootstrap over images.

A resample draws as many images as there are, with replacement. The score of each resample is computed, pooled or per image;
the middle 95 % of these scores are the interval (the percentile method). Two networks that are scored on the same images are
compared on the same draws, and the interval is that of the difference. Only images are resampled: the interval does not hold
the variation between seeds of the training.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax.evaluation import metrics

RESAMPLES = 2000
COUNTS = ("tp", "fp", "fn")


def draw(num_images: int, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draws how often each image is in each resample: int64 `[resamples, N]`, every row adds up to N."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=resamples)


def counts(rows: Sequence[Mapping], class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns `tp`, `fp`, `fn` int64 `[N, K]` from the rows of `evaluate`."""
    return {
        name: np.array([[row[f"{name}/{class_name}"] for class_name in class_names] for row in rows], np.int64)
        for name in COUNTS
    }


def scores(count: Mapping, draws: np.ndarray, report_channels: Sequence[int]) -> dict[str, np.ndarray]:
    """Returns the means over the reported classes, as of `metrics.summarize`, of each resample.

    Args:
      count: `tp`, `fp`, `fn` `[N, K]`.
      draws: `[R, N]`, as of `draw`.
      report_channels: channels of the reported classes.

    Returns:
      `iou_pooled`, `dice_pooled`, `iou_image`, `dice_image`, float64 `[R]`. As in `metrics`, a class that is absent from all
      images of a resample is left out of its mean; the mean is NaN only where all classes are absent.
    """
    pooled = metrics.ratios({name: draws @ np.asarray(count[name]) for name in COUNTS})
    per_class = {f"{metric}_pooled": values for metric, values in pooled.items()}
    per_class |= {f"{metric}_image": _means(values, draws) for metric, values in metrics.ratios(count).items()}
    return {name: metrics.nanmean(values[:, list(report_channels)], 1) for name, values in per_class.items()}


def interval(samples: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Returns the interval that holds the middle `level` of the samples `[R]` that are not NaN; NaN where none is left."""
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
