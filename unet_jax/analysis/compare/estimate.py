"""Estimates a score over several seeds and the difference of two: intervals by the bootstrap, and a permutation test.

Every seed of every config is scored on the same images, so seeds and images are crossed. A resample draws seeds with
replacement, and one set of images with replacement for all of them (Owen, "The pigeonhole bootstrap", Annals of Applied
Statistics 2007). With separate images for each seed, the mean over S seeds would count as S times the images, and the
interval would be too narrow.

With few seeds the interval is still too narrow: resampling S values underestimates their variance by the factor
(S - 1) / S. With one seed the interval covers images only.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from unet_jax.data.dataset import SPLITS
from unet_jax.evaluation import bootstrap, metrics

KINDS = ("pooled", "image")
PERMUTATIONS = 9999


class Estimate(NamedTuple):
    """Describes a score or a difference of scores over seeds.

    Attributes:
      mean: the mean over seeds.
      std: the standard deviation over seeds, with n - 1; NaN for one seed.
      low: lower end of the 95 % interval.
      high: upper end of the 95 % interval.
      by_seed: the score of each seed.
    """

    mean: float
    std: float
    low: float
    high: float
    by_seed: list[float]


def resample(counts: Sequence[Mapping], split: str, metric: str) -> dict[str, np.ndarray]:
    """Scores each seed on its images and on each resample of them.

    Args:
      counts: for each of S seeds `tp`, `fp`, `fn` `[N, K]` of the same images.
      split: the split of the images; every config has the same draws for a split.
      metric: "iou" or "dice".

    Returns:
      By kind, `pooled` and `image`, float64 `[1 + R, S]`. Row 0 is the score of the images, the others of R resamples.
    """
    num_images, num_classes = counts[0]["tp"].shape
    draws = bootstrap.draw(num_images, seed=SPLITS.index(split))
    draws = np.concatenate([np.ones((1, num_images), draws.dtype), draws])
    by_seed = [bootstrap.scores(count, draws, range(num_classes)) for count in counts]
    return {kind: np.stack([scores[f"{metric}_{kind}"] for scores in by_seed], 1) for kind in KINDS}


def estimate(values: np.ndarray) -> Estimate:
    """Estimates the mean over seeds.

    Args:
      values: `[1 + R, S]` from `resample`, or the difference of two such arrays for the same seeds.

    Returns:
      Mean, standard deviation, 95 % interval, and the values themselves.

    >>> values = np.full((3, 2), [0.80, 0.90])
    >>> round(estimate(values).mean, 4), round(estimate(values).std, 4)
    (0.85, 0.0707)
    """
    means = _mean_over_seeds(values)
    std = float(values[0].std(ddof=1)) if values.shape[1] > 1 else float("nan")
    low, high = bootstrap.interval(means[1:])
    return Estimate(float(means[0]), std, low, high, values[0].tolist())


def difference(first: np.ndarray, second: np.ndarray, *, same_seeds: bool) -> tuple[float, float, float]:
    """Estimates second - first, the mean over seeds.

    Args:
      first: `[1 + R, S]` from `resample`.
      second: as `first`, with the same draws of images.
      same_seeds: draws the same seeds for both, so that an effect of a seed that both share cancels.

    Returns:
      The difference, and the lower and upper end of its 95 % interval.

    >>> first = np.full((3, 2), [0.80, 0.90])
    >>> [round(value, 4) for value in difference(first, first + 0.01, same_seeds=True)]
    [0.01, 0.01, 0.01]
    """
    means = _mean_over_seeds(second) - _mean_over_seeds(first, stream=0 if same_seeds else 1)
    low, high = bootstrap.interval(means[1:])
    return float(means[0]), low, high


def _mean_over_seeds(values: np.ndarray, stream: int = 0) -> np.ndarray:
    """Averages over seeds, `[1 + R, S]` -> `[1 + R]`.

    Row 0 is the plain mean. Each other row draws seeds with replacement; different streams draw independently.
    """
    num_seeds = values.shape[1]
    # `resample` draws the images with the seeds below len(SPLITS).
    draws = bootstrap.draw(num_seeds, resamples=len(values) - 1, seed=len(SPLITS) + stream)
    weights = np.concatenate([np.ones((1, num_seeds), draws.dtype), draws])
    known = ~np.isnan(values)
    total = (weights * known).sum(1)
    return (weights * np.where(known, values, 0.0)).sum(1) / np.where(total > 0, total, np.nan)


def per_image(counts: Sequence[Mapping], metric: str) -> np.ndarray:
    """Scores each image: the mean over its classes, then over the seeds.

    Args:
      counts: for each seed `tp`, `fp`, `fn` `[N, K]` of the same images.
      metric: "iou" or "dice".

    Returns:
      `[N]`, NaN for an image that has none of the classes.

    >>> count = {"tp": np.array([[8, 3]]), "fp": np.array([[2, 0]]), "fn": np.array([[0, 3]])}
    >>> per_image([count], "iou")
    array([0.65])
    """
    by_seed = [metrics.nanmean(metrics.ratios(count)[metric], 1) for count in counts]
    return metrics.nanmean(np.stack(by_seed), 0)


def p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Tests whether the mean difference of paired scores is 0, by a two-sided permutation test.

    If the two were equally good, each image's difference could have the other sign equally well. p is the fraction of the
    sign changes, all 2^N or 9,999 drawn ones, whose mean is at least as far from 0. The statistic is the mean that the
    tables show (Wilcoxon's test uses ranks), and ties and zeros need no special case.

    Args:
      first: scores `[N]` by image; images where one of the two is NaN are left out.
      second: as `first`.

    Returns:
      p; NaN with fewer than 2 images.

    >>> p_value(np.full(5, 0.5), np.full(5, 0.6))
    0.0625
    """
    differences = (second - first)[~np.isnan(second - first)]
    if len(differences) < 2:
        return float("nan")
    result = stats.permutation_test(
        (differences,),
        lambda x, axis: x.mean(axis),
        # With one sample, SciPy changes the signs.
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=1000,
        random_state=np.random.default_rng(0),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p values for their number, so that a limit of 0.05 holds for all tests of a family together.

    The i-th smallest of m values is multiplied by m - i + 1. The result is no smaller than the one before it, and at most
    1 (Holm, Scandinavian Journal of Statistics 1979).

    Args:
      p_values: p of each test; NaN counts as no test, and stays NaN.

    >>> holm([0.03, 0.01, 0.04])
    [0.06, 0.03, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    corrected = np.full(len(values), np.nan)
    order = [index for index in np.argsort(values) if not np.isnan(values[index])]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return corrected.tolist()
