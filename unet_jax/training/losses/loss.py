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
    """The loss of a batch is `value(terms(logits, mask, valid))`; what `terms` returns may be added up over parts.

    Where `weighted` is true, `terms` takes a fourth argument: the weight map of the data, float32 `[B, H, W]`.
    """

    terms: Callable[..., Any]
    value: Callable[[Any], jax.Array]
    weighted: bool = False


def mean(sums) -> jax.Array:
    """The weighted mean of {"loss": Σ w l, "weight": Σ w}; 0 where nothing at all counts."""
    return sums["loss"] / jnp.maximum(sums["weight"], 1e-12)


def mean_over_classes(per_class: jax.Array, weights: jax.Array) -> jax.Array:
    """Σ_k w_k l_k / Σ_k w_k of `per_class` `[K]`."""
    return jnp.sum(weights * per_class) / jnp.sum(jnp.broadcast_to(weights, per_class.shape))


def predicted_and_true(logits, mask, valid, activation: str) -> tuple[jax.Array, jax.Array]:
    """Probabilities and true masks, `[B, H, W, K]`, both 0 where a pixel is not valid."""
    count = valid[..., None].astype(jnp.float32)
    return to_probabilities(logits, activation) * count, truth_masks(mask, logits.shape[-1]) * count


def true_ids(name: str, mask, valid) -> jax.Array:
    """Class ids `[B, H, W]`, 0 where a pixel is not valid; refuses overlapping masks for the loss `name`."""
    if mask.ndim == 4:
        raise UserError(f"loss {name} needs one class id per pixel, not overlapping masks; use binary_cross_entropy")
    return jnp.where(valid, mask, 0)


def need(activation: str, name: str, given: str, instead: str = "") -> None:
    """Raises UserError unless the model's activation is the one that the loss `name` is defined for."""
    if given != activation:
        remedy = f"; use {instead}" if instead else ""
        raise UserError(f"loss {name} needs model.activation {activation!r}, not {given!r}{remedy}")


def at_least(least: float, name: str, **knobs: float) -> None:
    """Raises UserError for a knob of the loss `name` that is no finite number from `least` up."""
    for knob, value in knobs.items():
        if not isinstance(value, int | float) or not least <= value < math.inf:
            raise UserError(f"loss.knobs.{name}.{knob} {value!r} must be at least {least} and finite")
