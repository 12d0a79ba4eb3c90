"""Estimates a score over several seeds and the difference of two, with intervals, and a permutation test.

Every seed of every config is scored on the same images, so seeds and images are crossed. The variance of the mean has a part of
the seeds and a part of the images (`unet_jax.evaluation.intervals.Spread`). With one seed the interval covers images only.

How often the 95 % interval holds the true mean, in simulations of 10 and 32 images, with spreads of seeds from none to as much as
that of the images: 0.95 with one seed (whose mean it is), 0.92 to 0.98 with 3, 0.94 to 0.97 with 5, but 0.88 to 0.99 with 2,
whose two values say little about the spread of seeds. Of pooled scores of 6 to 32 images that differ much in their numbers of
pixels: 0.91 to 0.95.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from unet_jax.evaluation import intervals, metrics
from unet_jax.evaluation.intervals import Spread
from unet_jax.evaluation.jackknife import LeftOut

PERMUTATIONS = 9999


class Estimate(NamedTuple):
    """Describes a score or a difference of scores over seeds.

    Attributes:
      mean: the mean over seeds.
      std: the standard deviation over seeds, with n - 1; NaN for one seed. Seeds without a score are left out.
      low: lower end of the 95 % interval; NaN where fewer than two images show a class.
      high: upper end of the 95 % interval.
      by_seed: the score of each seed.
    """

    mean: float
    std: float
    low: float
    high: float
    by_seed: list[float]


def estimate(scores: LeftOut) -> Estimate:
    """Estimates the mean over seeds of a score.

    Args:
      scores: from `jackknife.leave_one_out`.

    >>> from unet_jax.evaluation.jackknife import leave_one_out
    >>> counts = [{"tp": np.full((5, 1), tp), "fp": np.full((5, 1), 100 - tp), "fn": np.zeros((5, 1), int)} for tp in (80, 90)]
    >>> found = estimate(leave_one_out(counts, "iou")["pooled"])
    >>> round(found.mean, 4), round(found.std, 4)
    (0.85, 0.0707)
    """
    there = scores.share > 0
    spread = _spread(scores.known_runs().pseudo_values(there), _effective(scores.share))
    return _estimate(scores.score, _interval(scores.mean(), spread, int(there.sum()), intervals.SCORE))


def gap(train: LeftOut, val: LeftOut) -> Estimate:
    """Estimates train - val, the mean over seeds of the same runs on two sets of images."""
    found = difference(val, train, same_seeds=True, same_images=False)
    return _estimate(train.score - val.score, found[1:])


def difference(
    first: LeftOut, second: LeftOut, *, same_seeds: bool, same_images: bool = True
) -> tuple[float, float, float]:
    """Estimates second - first, the mean over seeds.

    Args:
      first: from `jackknife.leave_one_out`.
      second: as `first`.
      same_seeds: True if both have the same seeds, in one order; an effect of a seed that both share cancels.
      same_images: True if both were scored on the same images; their difficulty cancels.

    Returns:
      The difference, and the lower and upper end of its 95 % interval.
    """
    spread = spread_of_difference(first, second, same_seeds=same_seeds, same_images=same_images)
    mean = second.mean() - first.mean()
    units = [int((scores.share > 0).sum()) for scores in (first, second)]
    return (mean, *_interval(mean, spread, min(units), intervals.DIFFERENCE))


def spread_of_difference(
    first: LeftOut, second: LeftOut, *, same_seeds: bool, same_images: bool = True
) -> Spread | None:
    """Returns the variance of the difference that `difference` returns; None where fewer than two images show a class."""
    if same_seeds:
        known = ~np.isnan(first.score + second.score)
        first, second = first.of_runs(known), second.of_runs(known)
    else:
        first, second = first.known_runs(), second.known_runs()
    shares = [first.share, second.share]
    if same_images:
        shares = [(first.share + second.share) / 2] * 2
    values = [scores.pseudo_values(share > 0) for scores, share in zip((first, second), shares, strict=True)]
    effective = [_effective(share) for share in shares]
    if same_images and same_seeds:
        return _spread(values[1] - values[0], effective[0])
    apart = [each for each in map(_spread, values, effective) if each]
    if len(apart) < 2:
        return None
    units = tuple(part for each in apart for part in each.units)
    seeds = tuple(part for each in apart for part in each.seeds)
    if same_images:
        units = (intervals.units_part(values[1].mean(1) - values[0].mean(1), effective[0]),)
    if same_seeds and seeds:
        seeds = (intervals.seeds_part(second.score - first.score),)
    return Spread(seeds, units, tuple(part for each in apart for part in each.rest))


def _spread(values: np.ndarray, effective: float) -> Spread | None:
    """Returns the variance of the mean of `values` `[U, S]`; None with fewer than two units or without a seed."""
    num, seeds = values.shape
    return intervals.spread(values, effective) if num > 1 and seeds else None


def _effective(share: np.ndarray) -> float:
    """Returns the effective number of the units, at most the number of those that count."""
    squares = float(np.square(share).sum())
    return float(share.sum()) ** 2 / squares if squares else 0.0


def _interval(mean: float, spread: Spread | None, units: int, bounds: tuple[float, float]) -> tuple[float, float]:
    if spread is None:
        return float("nan"), float("nan")
    low, high = intervals.t_interval(mean, spread.variance(), spread.freedom(), units, bounds=bounds)
    return float(low), float(high)


def _estimate(by_seed: np.ndarray, interval: tuple[float, ...]) -> Estimate:
    known = by_seed[~np.isnan(by_seed)]
    std = float(known.std(ddof=1)) if len(known) > 1 else float("nan")
    low, high = interval
    return Estimate(float(metrics.nanmean(by_seed)), std, low, high, by_seed.tolist())


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


def p_value(first: np.ndarray, second: np.ndarray, groups: Sequence[str] | None = None) -> float:
    """Tests whether the mean difference of paired scores is 0, by a two-sided permutation test.

    If the two were equally good, each image's difference could have the other sign equally well. p is the fraction of the
    sign changes, all 2^N or 9,999 drawn ones, whose mean is at least as far from 0. The statistic is the mean that the
    tables show (Wilcoxon's test uses ranks), and ties and zeros need no special case. The images of a group are alike, so
    they change their sign together, and N is the number of groups.

    Args:
      first: scores `[M]` by image; images where one of the two is NaN are left out.
      second: as `first`.
      groups: the group of each image, `[M]`; None if every image is a group.

    Returns:
      p; NaN with fewer than 2 groups.

    >>> p_value(np.full(5, 0.5), np.full(5, 0.6))
    0.0625
    >>> p_value(np.full(5, 0.5), np.full(5, 0.6), groups=["a", "a", "a", "b", "b"])
    0.5
    """
    known = ~np.isnan(second - first)
    differences = (second - first)[known]
    if groups is not None:
        of_image = np.unique(np.asarray(groups)[known], return_inverse=True)[1]
        # Sums over groups: their mean is proportional to the mean over the images.
        differences = np.bincount(of_image, differences)
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
