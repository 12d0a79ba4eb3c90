"""Checks the losses against the papers' formulas, summed pixel by pixel in NumPy."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from unet_jax.analysis.certify.check import Check
from unet_jax.training.losses.registry import create_loss

SHAPE, CLASSES, TOLERANCE = (2, 5, 7), 3, 1e-6
MAP = "Ronneberger et al. 2015, eq. 1 and 2, w0 = 10"
U_NET, U_NET_PP = (
    "Ronneberger et al. 2015, eq. 1, class weights w_c only",
    "Zhou et al.'s code: BCE / 2 - Dice, smooth 1",
)
HEADS = "Zhou et al. 2018: the heads' losses added, weight 1 each"


def softmax_cross_entropy(logits: np.ndarray, ids: np.ndarray, weights: Sequence[float], extra: np.ndarray) -> float:
    """Computes U-Net's weighted cross entropy (Ronneberger et al. 2015, eq. 1), divided by the sum of the weights.

    E = sum_x w(x) (-log p_{l(x)}(x)) / sum_x w(x), with p the softmax and w(x) = w_{l(x)} + the extra weight of x.

    Args:
      logits: `[..., K]`.
      ids: class ids `[...]`.
      weights: one weight per class.
      extra: an additional weight per pixel, `[...]`.
    """
    total = norm = 0.0
    for pixel, label, more in zip(logits.reshape(-1, logits.shape[-1]), ids.ravel(), extra.ravel(), strict=True):
        p = np.exp(pixel[label]) / np.exp(pixel).sum()
        total, norm = total - (weights[label] + more) * np.log(p), norm + weights[label] + more
    return total / norm


def bce_dice(logits: np.ndarray, masks: np.ndarray) -> float:
    """Computes U-Net++'s loss (Zhou et al.'s code) over the flattened batch.

    -(1/2) mean(Y log P + (1 - Y) log(1 - P)) - (2 sum Y P + 1) / (sum Y + sum P + 1), with P the sigmoid.

    Args:
      logits: `[...]`.
      masks: 0 or 1, `[...]`.
    """
    entropy = overlap = size = 0.0
    for x, y in zip(logits.ravel(), masks.ravel(), strict=True):
        p = 1 / (1 + np.exp(-x))
        entropy -= np.log(p if y else 1 - p)
        overlap, size = overlap + y * p, size + y + p
    return 0.5 * entropy / logits.size - (2 * overlap + 1) / (size + 1)


def checks() -> Iterator[Check]:
    """Yields the checks of the losses of U-Net and U-Net++ on random logits and masks."""
    rng = np.random.default_rng(0)
    heads = rng.normal(size=(4, *SHAPE, CLASSES))
    ids, valid = rng.integers(0, CLASSES, SHAPE), np.ones(SHAPE, bool)
    masks = np.eye(CLASSES)[ids]
    weights = (0.5, 1.0, 2.0)

    def ours(weights, logits, activation, *weight, **options):
        loss = create_loss(weights=weights, activation=activation, num_classes=CLASSES, **options)
        single = tuple(jnp.asarray(x, jnp.float32) for x in logits)
        return float(loss.from_sums(loss.sums(single, jnp.asarray(ids), jnp.asarray(valid), *weight)))

    expected = softmax_cross_entropy(heads[0], ids, weights, np.zeros(SHAPE))
    value = ours({"cross_entropy": 1.0}, heads[:1], "softmax", class_weights=weights)
    yield _close("U-Net", "its loss, three classes weighted", expected, value, U_NET)
    extra = rng.random(SHAPE)
    expected = softmax_cross_entropy(heads[0], ids, weights, 10 * extra)
    single = jnp.asarray(extra, jnp.float32)
    value = ours({"weighted_cross_entropy": 1.0}, heads[:1], "softmax", single, class_weights=weights)
    yield _close("U-Net", "its loss with a map of weights", expected, value, MAP)
    expected = bce_dice(heads[0], masks)
    yield _close("U-Net++", "its loss at one head", expected, ours({"bce_dice": 1.0}, heads[:1], "sigmoid"), U_NET_PP)
    expected = sum(bce_dice(logits, masks) for logits in heads)
    value = ours({"bce_dice": 1.0}, heads, "sigmoid", head_weights=(1.0,) * 4)
    yield _close("U-Net++", "its loss of four heads", expected, value, HEADS)


def _close(network: str, claim: str, expected: float, value: float, source: str) -> Check:
    return Check(network, claim, f"{expected:.6f}", f"{value:.6f}", bool(abs(value - expected) < TOLERANCE), source)
