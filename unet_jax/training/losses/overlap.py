"""Losses of the overlap of prediction and truth, over all valid pixels of the global batch."""

import jax
import jax.numpy as jnp

from unet_jax.checks import number
from unet_jax.errors import UserError
from unet_jax.training.losses.cross_entropy import binary_cross_entropy
from unet_jax.training.losses.loss import (
    SMOOTH,
    Loss,
    check_options,
    mean_over_classes,
    predicted_and_true,
    require_activation,
)

# The axes of `[B, H, W, K]` that are summed over.
PIXELS = (0, 1, 2)


def dice(activation: str, weights) -> Loss:
    """Builds 1 − Σ_k w_k D_k / Σ_k w_k, with D_k = (2 Σ p y + 1) / (Σ p + Σ y + 1) over all valid pixels of the batch."""

    def sums(logits, mask, valid):
        p, y = predicted_and_true(logits, mask, valid, activation)
        return {"overlap": jnp.sum(p * y, PIXELS), "size": jnp.sum(p + y, PIXELS)}

    def from_sums(sums):
        return 1 - mean_over_classes((2 * sums["overlap"] + SMOOTH) / (sums["size"] + SMOOTH), weights)

    return Loss(sums, from_sums)


def generalised_dice(activation: str, weights) -> Loss:
    """Builds 1 − (2 Σ_k v_k Σ p y + 1) / (Σ_k v_k Σ (p + y) + 1), with v_k ∝ w_k / (Σ y)² (Sudre et al. 2017).

    A class counts by the inverse square of its true size in the batch, so that small ones are not drowned. v is 1 for
    the smallest class present (the loss depends on the ratios alone, up to the 1 that is added as in `dice`) and, as in
    the authors' code, for a class that is absent, whose own would be infinite.
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


def tversky(activation: str, weights, *, alpha: float = 0.3, beta: float = 0.7) -> Loss:
    """Builds 1 − Σ_k w_k T_k / Σ_k w_k, with T_k = (TP + ½) / (TP + α FP + β FN + ½) (Salehi et al. 2017).

    TP = Σ p y, FP = Σ p (1 − y) and FN = Σ (1 − p) y over all valid pixels of the batch. β > α costs a missed pixel more
    than a false one; α = β = ½ is `dice`, to the ½ that is added.
    """
    of_batch, missing = _tversky("tversky", activation, alpha, beta)
    return Loss(of_batch, lambda sums: mean_over_classes(missing(sums), weights))


def focal_tversky(activation: str, weights, *, alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3) -> Loss:
    """Builds Σ_k w_k (1 − T_k)^(1/γ) / Σ_k w_k, with T_k of `tversky` (Abraham & Khan 2019: its sum, here the mean).

    With γ > 1 the root is steepest where T is nearly 1. α and β are those of `tversky`, the prices of false and of missed
    pixels; this paper swaps their names.
    """
    of_batch, missing = _tversky("focal_tversky", activation, alpha, beta)
    check_options("focal_tversky", number(above=0), gamma=gamma)

    def from_sums(sums):
        # Bounded from below: at T = 1 the gradient of the root is infinite.
        return mean_over_classes(jnp.maximum(missing(sums), 1e-7) ** (1 / gamma), weights)

    return Loss(of_batch, from_sums)


def _tversky(name: str, activation: str, alpha: float, beta: float):
    """Returns the function of the sums, and that of 1 − T_k `[K]` of them.

    1 − T_k = (α FP + β FN) / (TP + α FP + β FN + ½), which is exact also where T is nearly 1.
    """
    check_options(name, number(least=0), alpha=alpha, beta=beta)
    if not alpha + beta:
        raise UserError(f"loss.options.{name}: alpha and beta are both 0, so no error would cost anything; raise one")

    def sums(logits, mask, valid):
        p, y = predicted_and_true(logits, mask, valid, activation)
        count = valid[..., None].astype(jnp.float32)
        wrong = alpha * p * (1 - y) + beta * (count - p) * y
        return {"overlap": jnp.sum(p * y, PIXELS), "wrong": jnp.sum(wrong, PIXELS)}

    def missing(sums) -> jax.Array:
        return sums["wrong"] / (sums["overlap"] + sums["wrong"] + SMOOTH / 2)

    return sums, missing


def bce_dice(activation: str, weights) -> Loss:
    """Builds U-Net++'s loss as its authors' code has it: ½ binary cross entropy − Dice, Dice over the flattened batch.

    The paper prints L = −1/N Σ_b (½ Y log P + 2 Y P / (Y + P)) (DLMIA 2018, eq. 2). Channels are flattened too, so with
    several classes this is not the mean of their Dices; class weights act inside both sums. Its least value is −1.
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
