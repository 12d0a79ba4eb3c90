"""Calibration: how far the probabilities of a prediction are the frequencies with which it is right.

A prediction is one pixel with softmax, and one pixel of one class with sigmoid. Its *confidence* is the probability of what is
predicted: the largest of the pixel, or the larger of p and 1 - p. It is *right* if the truth is what is predicted.

- ECE, the expected calibration error (Naeini 2015; Guo 2017): predictions are put in `NUM_BINS` bins of equal width by their
  confidence; the mean over the bins of |fraction that is right - mean confidence|, weighted by their predictions.
- Brier score (1950): the mean squared error of the probabilities: over the classes in one sum with softmax (0 to 2), of each
  mask with sigmoid (0 to 1).
- NLL, the negative log-likelihood: the mean of -log of the probability of the truth. A probability below 1e-7,
  the resolution of float32 near 1, counts as 1e-7.

All are ratios of sums over predictions, so counts of parts of an image, of images and of processes add up. Void pixels are left
out; without a valid pixel every score is NaN.

A network that says 0.9 and is right in 3 of 4 pixels:

>>> probabilities = np.full((1, 4, 2), (0.9, 0.1), np.float32)
>>> mask = np.array([[0, 0, 0, 1]])
>>> scored = scores(counts(probabilities, mask, "softmax"))
>>> {name: round(float(value), 3) for name, value in scored.items()}
{'ece': 0.15, 'brier': 0.42, 'nll': 0.655}
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from unet_jax.inference.temperature import LEAST
from unet_jax.segmentation import true_masks

NUM_BINS = 15
BINNED = ("bin_predictions", "bin_right", "bin_confidence")
COUNTS = (*BINNED, "brier", "nll")


def counts(probabilities: np.ndarray, mask: np.ndarray, activation: str) -> dict[str, np.ndarray]:
    """Counts the predictions of an image, or of some rows of it, for `scores`.

    Args:
      probabilities: `[H, W, K]`.
      mask: the truth, class ids `[H, W]` or 0/1 masks `[H, W, K]`; 255 is void.
      activation: "softmax" or "sigmoid".

    Returns:
      For each bin `bin_predictions` and `bin_right`, int64, and `bin_confidence`, a sum, float64. Also the sums `brier` and `nll`.
    """
    p, truth = valid_pixels(probabilities, mask)
    confidence, right, brier, likelihood = (
        _softmax_scores(p, truth) if activation == "softmax" else _sigmoid_scores(p, truth)
    )
    places = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    return {
        "bin_predictions": np.bincount(places, minlength=NUM_BINS),
        "bin_right": np.bincount(places[right], minlength=NUM_BINS),
        "bin_confidence": np.bincount(places, confidence, NUM_BINS),
        "brier": np.asarray(brier.sum()),
        "nll": np.asarray(-np.log(np.maximum(likelihood, LEAST)).sum()),
    }


def valid_pixels(probabilities: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probabilities, float64 `[n, K]`, and the true masks, bool `[n, K]`, of the pixels that are not void."""
    truth, valid = true_masks(mask, probabilities.shape[-1])
    return probabilities[valid].astype(np.float64), truth[valid]


def _softmax_scores(p: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the confidence, whether it is right, the squared error and the probability of the truth of each pixel."""
    likelihood = p[truth]
    predicted = p.argmax(-1)
    return p.max(-1, initial=0), truth[np.arange(len(p)), predicted], ((p - truth) ** 2).sum(-1), likelihood


def _sigmoid_scores(p: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the same of each pixel of each class."""
    p, truth = p.ravel(), truth.ravel()
    return np.maximum(p, 1 - p), (p >= 0.5) == truth, (p - truth) ** 2, np.where(truth, p, 1 - p)


def scores(count: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Computes `ece`, `brier` and `nll`, float64, of the results of `counts`, added up or stacked."""
    predictions, right, confidence = (np.asarray(count[name], np.float64) for name in BINNED)
    total = predictions.sum(-1)
    known = np.where(total > 0, total, np.nan)
    return {
        "ece": np.abs(right - confidence).sum(-1) / known,
        "brier": np.asarray(count["brier"]) / known,
        "nll": np.asarray(count["nll"]) / known,
    }


def reliability(count: Mapping[str, ArrayLike]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns for each bin the mean confidence, the fraction that is right, and the fraction of all predictions, each `[15]`.

    The first two are NaN for a bin without predictions.
    """
    predictions, right, confidence = (np.asarray(count[name], np.float64) for name in BINNED)
    known = np.where(predictions > 0, predictions, np.nan)
    return confidence / known, right / known, predictions / max(predictions.sum(), 1)
