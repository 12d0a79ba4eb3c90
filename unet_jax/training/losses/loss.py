"""What a loss is, and what the losses share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unet_jax.checks import Domain
from unet_jax.errors import UserError
from unet_jax.segmentation import to_probabilities, truth_masks

# As in the code of U-Net++'s authors; keeps an overlap defined where a class is absent.
SMOOTH = 1.0


class Loss(NamedTuple):
    """A loss in two steps: the loss of a batch is `from_sums(sums(logits, mask, valid))`.

    What `sums` returns may be added up over parts of the batch.

    Attributes:
      sums: reduces (a part of) a batch to a pytree of sums.
      from_sums: turns the sums of the whole batch into the loss, a scalar.
      needs_weight_map: True where `sums` takes a fourth argument, the weight map of the data, float32 `[B, H, W]`.
    """

    sums: Callable[..., Any]
    from_sums: Callable[[Any], jax.Array]
    needs_weight_map: bool = False


def weighted_mean(sums) -> jax.Array:
    """Returns the weighted mean of {"loss": Σ w l, "weight": Σ w}; 0 where nothing at all counts."""
    return sums["loss"] / jnp.maximum(sums["weight"], 1e-12)


def mean_over_classes(per_class: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns Σ_k w_k l_k / Σ_k w_k of `per_class` `[K]`."""
    return jnp.sum(weights * per_class) / jnp.sum(jnp.broadcast_to(weights, per_class.shape))


def predicted_and_true(logits, mask, valid, activation: str) -> tuple[jax.Array, jax.Array]:
    """Returns probabilities and true masks, `[B, H, W, K]`, both 0 where a pixel is not valid."""
    count = valid[..., None].astype(jnp.float32)
    return to_probabilities(logits, activation) * count, truth_masks(mask, logits.shape[-1]) * count


def valid_class_ids(name: str, mask, valid) -> jax.Array:
    """Returns class ids `[B, H, W]`, 0 where a pixel is not valid; raises UserError for overlapping masks.

    Args:
      name: of the loss, for the error.
      mask: class ids `[B, H, W]`.
      valid: bool `[B, H, W]`.
    """
    if mask.ndim == 4:
        raise UserError(f"loss {name} needs one class id per pixel, not overlapping masks; use binary_cross_entropy")
    return jnp.where(valid, mask, 0)


def require_activation(activation: str, name: str, given: str, instead: str = "") -> None:
    """Raises UserError unless the model's activation is the one that the loss `name` is defined for."""
    if given != activation:
        remedy = f"; use {instead}" if instead else ""
        raise UserError(f"loss {name} needs model.activation {activation!r}, not {given!r}{remedy}")


def check_options(name: str, domain: Domain, **options: float) -> None:
    """Raises UserError for an option of the loss `name` that is not of `domain`."""
    for option, value in options.items():
        domain.check(f"loss.options.{name}.{option}", value)
