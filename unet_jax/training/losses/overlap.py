"""Losses of the overlap of prediction and truth, over all valid pixels of the global batch.

In the formulas p is the probability that the network gives class k at a pixel, y is 1 at the true pixels of class k and 0
elsewhere, and w_k is the class weight. Σ without an index runs over all valid pixels.
"""

import jax
import jax.numpy as jnp

from unet_jax.checks import number
from unet_jax.errors import UserError
from unet_jax.segmentation import Array
from unet_jax.training.losses.cross_entropy import binary_cross_entropy
from unet_jax.training.losses.loss import (
    SMOOTH,
    Loss,
    check_options,
    mean_over_classes,
    predicted_and_true,
    require_activation,
)
from unet_jax.training.losses.options import WEIGHT

# The axes of `[B, H, W, K]` that are summed over.
PIXELS = (0, 1, 2)


def dice(activation: str, weights: Array) -> Loss:
    """Builds the Dice loss, 1 − Σ_k w_k D_k / Σ_k w_k, with D_k = (2 Σ p y + 1) / (Σ p + Σ y + 1).

    Source: Milletari et al. 2016 (V-Net), section 3, which has p² and y² in the denominator. This form, without squares and
    with the 1 added, is that of the U-Net++ authors' code.

    One mask of four pixels; the network finds two of them and one false pixel, so D = (2 · 2 + 1) / (3 + 4 + 1) = 5/8:

    >>> loss = dice("sigmoid", weights=jnp.ones(1))
    >>> logits = 100.0 * jnp.array([1, 1, -1, -1, 1, -1]).reshape(1, 1, 6, 1)
    >>> sums = loss.sums(logits, mask=jnp.array([[[1, 1, 1, 1, 0, 0]]]), valid=jnp.ones((1, 1, 6), bool))
    >>> float(loss.from_sums(sums))
    0.375

    Args:
      activation: "softmax" or "sigmoid".
      weights: class weights w `[K]`.
    """

    def sums(logits, mask, valid):
        p, y = predicted_and_true(logits, mask, valid, activation)
        return {"overlap": jnp.sum(p * y, PIXELS), "size": jnp.sum(p + y, PIXELS)}

    def from_sums(sums):
        return 1 - mean_over_classes((2 * sums["overlap"] + SMOOTH) / (sums["size"] + SMOOTH), weights)

    return Loss(sums, from_sums)


def generalised_dice(activation: str, weights: Array) -> Loss:
    """Builds the generalised Dice loss, 1 − (2 Σ_k v_k Σ p y + 1) / (Σ_k v_k Σ (p + y) + 1), with v_k ∝ w_k / (Σ y)².

    Source: Sudre et al. 2017, with 1 added as in `dice`. A class counts by the inverse square of its true size in the batch,
    so that a small class counts as much as a large one. v is w for the smallest class that is present, because only ratios
    matter. It is also w for an absent class, as in the authors' code; its inverse size would be infinite.

    Eight pixels of class 0 and two of class 1, of which one is missed. v is (2/8)² and 1, the overlaps are 8 and 1, the sizes
    p + y are 17 and 3:

    >>> loss = generalised_dice("softmax", weights=jnp.ones(2))
    >>> truth, predicted = jnp.array([[[0] * 8 + [1] * 2]]), jnp.array([0] * 8 + [0, 1])
    >>> logits = 100.0 * jnp.stack([1 - predicted, predicted], -1)[None, None]
    >>> sums = loss.sums(logits, truth, valid=jnp.ones((1, 1, 10), bool))
    >>> round(float(loss.from_sums(sums)), 4), round(1 - (2 * (8 / 16 + 1) + 1) / (17 / 16 + 3 + 1), 4)
    (0.2099, 0.2099)

    Args:
      activation: "softmax" or "sigmoid".
      weights: class weights w `[K]`.
    """

    def sums(logits, mask, valid):
        p, y = predicted_and_true(logits, mask, valid, activation)
        return {"overlap": jnp.sum(p * y, PIXELS), "predicted": jnp.sum(p, PIXELS), "true": jnp.sum(y, PIXELS)}

    def from_sums(sums):
        true = sums["true"]
        smallest = jnp.min(jnp.where(true > 0, true, jnp.inf))
        v = weights * jnp.where(true > 0, smallest / jnp.maximum(true, 1), 1) ** 2
        size = jnp.sum(v * (sums["predicted"] + true))
        return 1 - (2 * jnp.sum(v * sums["overlap"]) + SMOOTH) / (size + SMOOTH)

    return Loss(sums, from_sums)


def tversky(activation: str, weights: Array, *, alpha: float = 0.3, beta: float = 0.7) -> Loss:
    """Builds the Tversky loss, 1 − Σ_k w_k T_k / Σ_k w_k, with T_k = (TP + ½) / (TP + α FP + β FN + ½).

    Source: Salehi et al. 2017. TP = Σ p y, FP = Σ p (1 − y) and FN = Σ (1 − p) y. If β > α, a missed pixel costs more than a
    false one. α = β = ½ gives `dice`.

    One mask of four pixels; the network finds two of them and one false pixel, so T = 2.5 / (2 + 0.5 · 1 + 1 · 2 + 0.5) = 1/2:

    >>> loss = tversky("sigmoid", weights=jnp.ones(1), alpha=0.5, beta=1.0)
    >>> logits = 100.0 * jnp.array([1, 1, -1, -1, 1, -1]).reshape(1, 1, 6, 1)
    >>> sums = loss.sums(logits, mask=jnp.array([[[1, 1, 1, 1, 0, 0]]]), valid=jnp.ones((1, 1, 6), bool))
    >>> float(loss.from_sums(sums))
    0.5

    Args:
      activation: "softmax" or "sigmoid".
      weights: class weights w `[K]`.
      alpha: α, the cost of a false pixel, at least 0.
      beta: β, the cost of a missed pixel, at least 0.

    Raises:
      UserError: `alpha` or `beta` is not allowed, or both are 0.
    """
    of_batch, missing = _tversky("tversky", activation, alpha, beta)
    return Loss(of_batch, lambda sums: mean_over_classes(missing(sums), weights))


def focal_tversky(
    activation: str, weights: Array, *, alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3
) -> Loss:
    """Builds the focal Tversky loss, Σ_k w_k (1 − T_k)^(1/γ) / Σ_k w_k, with T_k of `tversky`.

    Source: Abraham and Khan 2019. The paper adds the classes up; this loss is their weighted mean. The paper also swaps the
    names α and β; here they are those of `tversky`. If γ > 1, the root is steepest where T is nearly 1.

    One mask of four pixels; the network finds two of them and one false pixel, so T = 1/2 as in the example of `tversky`, and
    at γ = ½ the loss is 0.5²:

    >>> loss = focal_tversky("sigmoid", weights=jnp.ones(1), alpha=0.5, beta=1.0, gamma=0.5)
    >>> logits = 100.0 * jnp.array([1, 1, -1, -1, 1, -1]).reshape(1, 1, 6, 1)
    >>> sums = loss.sums(logits, mask=jnp.array([[[1, 1, 1, 1, 0, 0]]]), valid=jnp.ones((1, 1, 6), bool))
    >>> float(loss.from_sums(sums))
    0.25

    Args:
      activation: "softmax" or "sigmoid".
      weights: class weights w `[K]`.
      alpha: α, the cost of a false pixel, at least 0.
      beta: β, the cost of a missed pixel, at least 0.
      gamma: γ, above 0.

    Raises:
      UserError: an option is not allowed, or `alpha` and `beta` are both 0.
    """
    of_batch, missing = _tversky("focal_tversky", activation, alpha, beta)
    check_options("focal_tversky", number(least=0.01, most=100), gamma=gamma)

    def from_sums(sums):
        # Bounded from below, because the gradient of the root is infinite at T = 1.
        return mean_over_classes(jnp.maximum(missing(sums), 1e-7) ** (1 / gamma), weights)

    return Loss(of_batch, from_sums)


def _tversky(name: str, activation: str, alpha: float, beta: float):
    """Returns two functions: the first returns the sums of a batch, the second 1 − T_k `[K]` of these sums.

    1 − T_k = (α FP + β FN) / (TP + α FP + β FN + ½). This form is exact also if T_k is nearly 1.
    """
    check_options(name, WEIGHT, alpha=alpha, beta=beta)
    if not alpha + beta:
        raise UserError(f"loss.options.{name}: alpha and beta are both 0, so errors cost nothing; set one above 0")

    def sums(logits, mask, valid):
        p, y = predicted_and_true(logits, mask, valid, activation)
        count = valid[..., None].astype(jnp.float32)
        wrong = alpha * p * (1 - y) + beta * (count - p) * y
        return {"overlap": jnp.sum(p * y, PIXELS), "wrong": jnp.sum(wrong, PIXELS)}

    def missing(sums) -> jax.Array:
        return sums["wrong"] / (sums["overlap"] + sums["wrong"] + SMOOTH / 2)

    return sums, missing


def bce_dice(activation: str, weights: Array) -> Loss:
    """Builds the loss of U-Net++, ½ B − (2 Σ p y + 1) / (Σ p + Σ y + 1), where B is the binary cross entropy.

    Source: the code of Zhou et al. 2018 (U-Net++). Their paper prints L = −1/N Σ_b (½ Y log P + 2 Y P / (Y + P)) (equation 2).
    The sums run over pixels and channels, so with several classes this is not the mean of their Dice losses. Class weights
    multiply the terms of both sums. The lowest value is −1.

    One pixel inside the mask has p = 1/2, so the loss is ½ ln 2 − (2 · ½ + 1) / (½ + 1 + 1) = 0.3466 − 0.8:

    >>> loss = bce_dice("sigmoid", weights=jnp.ones(1))
    >>> sums = loss.sums(jnp.zeros((1, 1, 1, 1)), mask=jnp.array([[[1]]]), valid=jnp.array([[[True]]]))
    >>> round(float(loss.from_sums(sums)), 4)
    -0.4534

    Args:
      activation: must be "sigmoid".
      weights: class weights `[K]`.

    Raises:
      UserError: the activation is "softmax".
    """
    require_activation("sigmoid", "bce_dice", activation)
    entropy = binary_cross_entropy(activation, weights)

    def sums(logits, mask, valid):
        p, y = predicted_and_true(logits, mask, valid, activation)
        return {
            "entropy": entropy.sums(logits, mask, valid),
            "overlap": jnp.sum(weights * jnp.sum(p * y, PIXELS)),
            "size": jnp.sum(weights * jnp.sum(p + y, PIXELS)),
        }

    def from_sums(sums):
        return 0.5 * entropy.from_sums(sums["entropy"]) - (2 * sums["overlap"] + SMOOTH) / (sums["size"] + SMOOTH)

    return Loss(sums, from_sums)
