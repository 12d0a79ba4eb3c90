"""Fits the temperature of `inference.temperature` to the pixels of a split: that of the lowest negative log-likelihood.

A network that says 0.9 and is right in 3 of 4 pixels:

>>> probabilities = np.full((1, 4, 2), (0.9, 0.1), np.float32)
>>> some = sample(probabilities, np.array([[0, 0, 0, 1]]))
>>> round(fit_temperature([some], "softmax"), 3)
2.0
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize

from unet_jax.evaluation.calibration import valid_pixels
from unet_jax.inference.temperature import scale

# Temperatures that are searched.
RANGE = (0.05, 20.0)


class Sample(NamedTuple):
    """Some pixels of an image, evenly spaced.

    Attributes:
      probabilities: float64 `[n, K]`.
      truth: the true masks, bool `[n, K]`.
      weight: the number of valid pixels that each of them stands for.
    """

    probabilities: np.ndarray
    truth: np.ndarray
    weight: float


def sample(probabilities: np.ndarray, mask: np.ndarray, most: int = 20_000) -> Sample:
    """Takes evenly spaced valid pixels of an image, for `fit_temperature`.

    Args:
      probabilities: `[H, W, K]`.
      mask: the truth; see `calibration.counts`.
      most: the largest number of pixels.
    """
    p, truth = valid_pixels(probabilities, mask)
    places = np.arange(len(p)) if len(p) <= most else np.linspace(0, len(p) - 1, most).round().astype(np.int64)
    return Sample(p[places], truth[places], len(p) / max(len(places), 1))


def fit_temperature(samples: Sequence[Sample], activation: str) -> float:
    """Returns the temperature with the lowest NLL of all samples, in the order that they are given; 1 without any pixel.

    The NLL is convex in 1 / T, so there is one minimum. It is searched within `RANGE`.
    """
    p = np.concatenate([each.probabilities for each in samples])
    truth = np.concatenate([each.truth for each in samples])
    weights = np.concatenate([np.full(len(each.truth), each.weight) for each in samples])
    if not len(p):
        return 1.0

    # A mask's probability of the truth, which temperature scales in the same way as p.
    of_truth = np.where(truth, p, 1 - p)

    def nll(log_temperature: float) -> float:
        power = np.exp(-log_temperature)
        if activation == "softmax":
            return float((weights * -np.log(scale(p, power, activation)[truth])).sum())
        return float((weights[:, None] * -np.log(scale(of_truth, power, activation))).sum())

    found = optimize.minimize_scalar(nll, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
