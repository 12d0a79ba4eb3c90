"""How sure a score over several seeds is, and the difference of two: the bootstrap over seeds and images, and a test.

Every seed of every config is scored on the same images, so seeds and images are crossed: a resample draws seeds, with
replacement, and one set of images, with replacement, for all of them (Owen, "The pigeonhole bootstrap", Annals of Applied
Statistics 2007). Images drawn anew for each seed would be averaged over the seeds, as if S seeds were S times the images,
and the interval would be too narrow. With few seeds it is still too narrow: resampling S values underestimates their
variance by the factor (S - 1) / S. With one seed the interval is over images alone.
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
    """A score or a difference of scores: mean and standard deviation (n - 1; NaN for one) over seeds, a 95 % interval."""

    mean: float
    std: float
    low: float
    high: float
    by_seed: list[float]


def resample(counts: Sequence[Mapping], split: str, metric: str) -> dict[str, np.ndarray]:
    """Scores each seed, on its images themselves and on each resample of them.

    Args:
      counts: for each of S seeds `tp`, `fp`, `fn` [N, K] of the same images.
      split: whose images they are; every config of a split has the same draws.
      metric: iou or dice.

    Returns:
      By kind, `pooled` and `image`, float64 `[1 + R, S]`; row 0 is that of the images themselves.
    """
    num_images, num_classes = counts[0]["tp"].shape
    draws = bootstrap.draw(num_images, seed=SPLITS.index(split))
    draws = np.concatenate([np.ones((1, num_images), draws.dtype), draws])
    by_seed = [bootstrap.scores(count, draws, range(num_classes)) for count in counts]
    return {kind: np.stack([scores[f"{metric}_{kind}"] for scores in by_seed], 1) for kind in KINDS}


def estimate(values: np.ndarray) -> Estimate:
    """Estimates the mean over seeds.

    Args:
      values: `[1 + R, S]`, from `resample`, or the difference of two of these for the same seeds.
    """
    means = _mean_over_seeds(values)
    std = float(values[0].std(ddof=1)) if values.shape[1] > 1 else float("nan")
    return Estimate(float(means[0]), std, *bootstrap.interval(means[1:]), values[0].tolist())


def difference(first: np.ndarray, second: np.ndarray, *, same_seeds: bool) -> tuple[float, float, float]:
    """Returns second less first, the mean over seeds, and its 95 % interval.

    Args:
      first: `[1 + R, S]`, from `resample`.
      second: likewise, of the same draws of images.
      same_seeds: draw the same seeds for both, so that an effect of a seed that both share cancels.
    """
    means = _mean_over_seeds(second) - _mean_over_seeds(first, stream=0 if same_seeds else 1)
    return float(means[0]), *bootstrap.interval(means[1:])


def _mean_over_seeds(values: np.ndarray, stream: int = 0) -> np.ndarray:
    """Averages over seeds, `[1 + R]`; each resample draws other seeds, and streams draw independently of each other."""
    num_seeds = values.shape[1]
    # The first len(SPLITS) seeds draw the images.
    draws = bootstrap.draw(num_seeds, resamples=len(values) - 1, seed=len(SPLITS) + stream)
    weights = np.concatenate([np.ones((1, num_seeds), draws.dtype), draws])
    known = ~np.isnan(values)
    total = (weights * known).sum(1)
    return (weights * np.where(known, values, 0.0)).sum(1) / np.where(total > 0, total, np.nan)


def per_image(counts: Sequence[Mapping], metric: str) -> np.ndarray:
    """Scores each image, `[N]`: the mean over its classes, then over the seeds; NaN where it has none of the classes."""
    by_seed = [metrics.nanmean(metrics.ratios(count)[metric], 1) for count in counts]
    return metrics.nanmean(np.stack(by_seed), 0)


def p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Tests whether the mean difference of paired scores `[N]` is 0, by a two-sided permutation test.

    Were the two equally good, each image's difference could as well have the other sign: p is the fraction of the sign
    changes, all 2^N or 9,999 drawn, whose mean is as far from 0. Its statistic is the mean that the tables show, where
    Wilcoxon's is one of ranks, and it needs no care for ties and zeros. Images where one of the two has no score are left
    out; with fewer than 2 images p is NaN.
    """
    differences = (second - first)[~np.isnan(second - first)]
    if len(differences) < 2:
        return float("nan")
    result = stats.permutation_test(
        (differences,),
        lambda x, axis: x.mean(axis),
        # For one sample: its signs.
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=1000,
        random_state=np.random.default_rng(0),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p values for their number: with 0.05 as the limit, one family of tests in twenty has even one by chance.

    The i-th smallest of m times m - i + 1, no smaller than the one before it, at most 1 (Holm, Scandinavian Journal of
    Statistics 1979). NaN is no test, and stays.
    """
    p_values = np.asarray(p_values, np.float64)
    corrected = np.full(len(p_values), np.nan)
    order = [index for index in np.argsort(p_values) if not np.isnan(p_values[index])]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return corrected.tolist()
