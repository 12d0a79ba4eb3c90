"""The type of a loss, and the functions that the losses share."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unet_jax.checks import Domain
from unet_jax.errors import UserError
from unet_jax.segmentation import Array, to_probabilities, truth_masks

# Added to numerator and denominator of an overlap, so that it is defined if a class is absent. The code of the U-Net++ authors
# has the same value.
SMOOTH = 1.0


class Loss(NamedTuple):
    """A loss in two steps: the loss of a batch is `from_sums(sums(logits, mask, valid))`.

    The sums of several parts of a batch can be added. Then `from_sums` returns the loss of the whole batch, also for a loss
    that is not a mean over pixels, such as Dice.

    Attributes:
      sums: reduces a batch, or a part of it, to a pytree of sums. Its arguments are logits float32 `[B, H, W, K]`; mask,
        class ids `[B, H, W]` or 0/1 masks `[B, H, W, K]`; and valid, bool `[B, H, W]`.
      from_sums: turns the sums of the whole batch into the loss, a scalar.
      needs_weight_map: True if `sums` takes a fourth argument, the weight map of the data, float32 `[B, H, W]`.
    """

    sums: Callable[..., Any]
    from_sums: Callable[[Any], jax.Array]
    needs_weight_map: bool = False


def weighted_mean(sums: Mapping[str, jax.Array]) -> jax.Array:
    """Returns the weighted mean of the sums {"loss": Σ w l, "weight": Σ w}, or 0 if the weights are 0.

    >>> float(weighted_mean({"loss": jnp.float32(6), "weight": jnp.float32(4)}))
    1.5
    """
    return sums["loss"] / jnp.maximum(sums["weight"], 1e-12)


def mean_over_classes(per_class: jax.Array, weights: Array) -> jax.Array:
    """Returns Σ_k w_k l_k / Σ_k w_k, with l = `per_class` `[K]` and w = `weights` `[K]`.

    >>> float(mean_over_classes(jnp.array([1.0, 0.0]), weights=jnp.array([1.0, 3.0])))
    0.25
    """
    return jnp.sum(weights * per_class) / jnp.sum(jnp.broadcast_to(weights, per_class.shape))


def predicted_and_true(logits: Array, mask: Array, valid: Array, activation: str) -> tuple[Array, Array]:
    """Returns probabilities and true masks, both float32 `[B, H, W, K]` and 0 at pixels that are not valid.

    Args:
      logits: `[B, H, W, K]`.
      mask: class ids `[B, H, W]`, or 0/1 masks `[B, H, W, K]`.
      valid: bool `[B, H, W]`.
      activation: "softmax" or "sigmoid".
    """
    count = valid[..., None].astype(jnp.float32)
    return to_probabilities(logits, activation) * count, truth_masks(mask, logits.shape[-1]) * count


def valid_class_ids(name: str, mask: Array, valid: Array) -> jax.Array:
    """Returns the class ids `[B, H, W]`, with 0 at pixels that are not valid.

    Args:
      name: the name of the loss, for the error.
      mask: class ids `[B, H, W]`.
      valid: bool `[B, H, W]`.

    Raises:
      UserError: `mask` holds overlapping masks, `[B, H, W, K]`.
    """
    if mask.ndim == 4:
        raise UserError(f"loss {name} needs one class id per pixel, not overlapping masks; use binary_cross_entropy")
    return jnp.where(valid, mask, 0)


def require_activation(activation: str, name: str, given: str, instead: str = "") -> None:
    """Checks that the network has the activation that a loss needs.

    Args:
      activation: that the loss is defined for.
      name: the name of the loss.
      given: the activation of the network.
      instead: the loss for the other activation, if there is one.

    Raises:
      UserError: the two activations differ.
    """
    if given != activation:
        remedy = f"; use {instead}" if instead else ""
        raise UserError(f"loss {name} needs model.activation {activation!r}, not {given!r}{remedy}")


def check_options(name: str, domain: Domain, **options: float) -> None:
    """Checks the values of options of a loss.

    Args:
      name: the name of the loss.
      domain: the allowed values.
      **options: the options by name.

    Raises:
      UserError: a value is not allowed.
    """
    for option, value in options.items():
        domain.check(f"loss.options.{name}.{option}", value)
