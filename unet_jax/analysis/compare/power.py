"""Says how many seeds and images it takes to tell a given difference of two configs.

A difference d of two means is told in a two-sided test at 5 % with a probability of 80 % if the variance of the mean difference is at
most (d / (1.960 + 0.842))^2 (Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988). Half of it is given to the
seeds; then the images get what is left:

    s >= var(a) / (V / 2),    n >= (var(b) + var(e) / s) / (V - var(a) / s)

with var(a), var(b) and var(e) of a seed, of an image and of the rest in the difference; see `intervals.Spread`. For few seeds or images
the normal quantiles are too small, so the numbers say about how many.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from unet_jax.evaluation.intervals import Part, Spread

DIFFERENCE = 0.01
# Quantiles of the normal distribution: 0.975 for the test, 0.8 for the power.
QUANTILES = 1.960 + 0.842


class Variances(NamedTuple):
    """Holds the variances of the difference of one seed on one image.

    Attributes:
      seeds: between seeds; NaN with one seed.
      images: between images; with one seed, of all but the seeds.
      rest: what neither explains; 0 with one seed.
    """

    seeds: float
    images: float
    rest: float


class Needed(NamedTuple):
    """Holds the numbers that it takes.

    Attributes:
      seeds: seeds of each config; 0 where their spread is unknown.
      images: images.
    """

    seeds: int
    images: int


def variances(spread: Spread) -> Variances:
    """Returns the variances of one seed and one image of a difference on the same images; estimates below 0 are 0.

    >>> spread = Spread((Part(0.03, 2, 3),), (Part(0.05, 9, 10),), (Part(0.01, 18, 30),))
    >>> [round(value, 4) for value in variances(spread)]
    [0.06, 0.4, 0.3]
    """
    units = sum(map(_single, spread.units))
    if not spread.seeds:
        return Variances(float("nan"), units, 0.0)
    # What the seeds and the images show contains the rest.
    between_seeds = sum(
        _single(part) - float(rest.variance) * part.num for part, rest in zip(spread.seeds, spread.rest, strict=True)
    )
    between_images = units - sum(float(rest.variance) for rest in spread.rest) * spread.units[0].num
    return Variances(max(between_seeds, 0.0), max(between_images, 0.0), sum(map(_single, spread.rest)))


def needed(found: Sequence[Variances], difference: float = DIFFERENCE) -> Needed:
    """Returns how many seeds and images it takes, with the means of the variances of several differences.

    Differences without a spread of seeds are left out where others have one.
    """
    known = [each for each in found if not math.isnan(each.seeds)]
    seeds, images, rest = (sum(values) / len(values) for values in zip(*(known or found), strict=True))
    allowed = (difference / QUANTILES) ** 2
    if not known:
        return Needed(0, max(_whole(images / allowed), 2))
    num_seeds = max(_whole(seeds / (allowed / 2)), 1)
    return Needed(num_seeds, max(_whole((images + rest / num_seeds) / (allowed - seeds / num_seeds)), 2))


def _single(part: Part) -> float:
    return float(part.variance) * part.num


def _whole(value: float) -> int:
    # 3.0000000001 is 3.
    return math.ceil(round(value, 6))
