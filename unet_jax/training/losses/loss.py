"""What a loss is, and what the losses share."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unet_jax.errors import UserError
from unet_jax.segmentation import to_probabilities, truth_masks

SMOOTH = 1.0  # as in the code of U-Net++'s authors; keeps an overlap defined where a class is absent


class Loss(NamedTuple):
    """The loss of a batch is `from_sums(sums(logits, mask, valid))`; what `sums` returns may be added up over parts of it.

    Where `needs_weight_map` is true, `sums` takes a fourth argument: the weight map of the data, float32 `[B, H, W]`.
    """

    sums: Callable[..., Any]
    from_sums: Callable[[Any], jax.Array]
    needs_weight_map: bool = False


def weighted_mean(sums) -> jax.Array:
    """The weighted mean of {"loss": Σ w l, "weight": Σ w}; 0 where nothing at all counts."""
    return sums["loss"] / jnp.maximum(sums["weight"], 1e-12)


def mean_over_classes(per_class: jax.Array, weights: jax.Array) -> jax.Array:
    """Σ_k w_k l_k / Σ_k w_k of `per_class` `[K]`."""
    return jnp.sum(weights * per_class) / jnp.sum(jnp.broadcast_to(weights, per_class.shape))


def predicted_and_true(logits, mask, valid, activation: str) -> tuple[jax.Array, jax.Array]:
    """Probabilities and true masks, `[B, H, W, K]`, both 0 where a pixel is not valid."""
    count = valid[..., None].astype(jnp.float32)
    return to_probabilities(logits, activation) * count, truth_masks(mask, logits.shape[-1]) * count


def valid_class_ids(name: str, mask, valid) -> jax.Array:
    """Class ids `[B, H, W]`, 0 where a pixel is not valid; refuses overlapping masks for the loss `name`."""
    if mask.ndim == 4:
        raise UserError(f"loss {name} needs one class id per pixel, not overlapping masks; use binary_cross_entropy")
    return jnp.where(valid, mask, 0)


def require_activation(activation: str, name: str, given: str, instead: str = "") -> None:
    """Raises UserError unless the model's activation is the one that the loss `name` is defined for."""
    if given != activation:
        remedy = f"; use {instead}" if instead else ""
        raise UserError(f"loss {name} needs model.activation {activation!r}, not {given!r}{remedy}")


def check_at_least(least: float, name: str, **options: float) -> None:
    """Raises UserError for a option of the loss `name` that is no finite number from `least` up."""
    for option, value in options.items():
        if not isinstance(value, int | float) or not least <= value < math.inf:
            raise UserError(f"loss.options.{name}.{option} {value!r} must be at least {least} and finite")
