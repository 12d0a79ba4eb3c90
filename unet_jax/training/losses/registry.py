"""The losses by name, and their weighted sum. Its public name is `unet_jax.losses`.

`create_loss` builds a weighted sum of losses for all heads of a network; `LOSSES` holds the builder of each single loss:

    loss = unet_jax.losses.create_loss(weights={"cross_entropy": 1.0, "dice": 1.0}, activation="softmax", num_classes=3)
    value = loss.from_sums(loss.sums(heads, mask, valid))

A loss is a pair of pure functions. `sums(logits, mask, valid)` reduces a batch, or a part of it, to a pytree of sums;
`from_sums(sums)` turns the sums of the *whole* batch into the loss, a scalar. A training step on several devices adds the sums
over the devices before it calls `from_sums`. So Dice is that of the global batch, and devices with more valid pixels count more.

Shapes: logits float32 `[B, H, W, K]`; mask, class ids `[B, H, W]` or 0/1 masks `[B, H, W, K]` if classes may overlap; valid,
bool `[B, H, W]`, False for pixels that do not count (void, padding); weight map, float32 `[B, H, W]`, only for losses that need
it (`needs_weight_map`).

To add a loss: write a builder `name(activation, weights, **options) -> Loss`, add it to `LOSSES`, and add its weight to
`loss.weights` in `configs/default.py`. If it has options, add them to `loss.options`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from unet_jax.errors import UserError
from unet_jax.training.losses.cross_entropy import (
    binary_cross_entropy,
    cross_entropy,
    focal,
    weighted_cross_entropy,
)
from unet_jax.training.losses.loss import Loss
from unet_jax.training.losses.lovasz import lovasz
from unet_jax.training.losses.options import check_weights
from unet_jax.training.losses.overlap import bce_dice, dice, focal_tversky, generalised_dice, tversky

__all__ = [
    "LOSSES",
    "Loss",
    "bce_dice",
    "binary_cross_entropy",
    "check_losses",
    "create_loss",
    "cross_entropy",
    "dice",
    "focal",
    "focal_tversky",
    "generalised_dice",
    "lovasz",
    "tversky",
    "weighted_cross_entropy",
]

# The builder of each loss, by its name in `loss.weights`.
LOSSES: dict[str, Callable[..., Loss]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "weighted_cross_entropy": weighted_cross_entropy,
    "focal": focal,
    "dice": dice,
    "generalised_dice": generalised_dice,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
    "lovasz": lovasz,
    "bce_dice": bce_dice,
}
# The rows of the package; `experiment/imports.py` finds by them those that a user's file has added.
SHIPPED = dict(LOSSES)

# The arguments of every builder. Its other arguments are the options of the loss.
BUILT_WITH = ("activation", "weights")


def create_loss(
    *,
    weights: Mapping[str, float],
    activation: str,
    num_classes: int,
    class_weights: Sequence[float] = (),
    head_weights: Sequence[float] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Loss:
    """Builds a weighted sum of losses, averaged over the heads of a network.

    A pixel of class 0, a pixel of class 1, and a network that gives both classes the probability 1/2. The cross entropy is
    ln 2. The Dice of each class is (2 · ½ + 1) / (1 + 1 + 1) = 2/3, so the Dice loss is 1/3:

    >>> loss = create_loss(weights={"cross_entropy": 1.0, "dice": 0.5}, activation="softmax", num_classes=2)
    >>> heads = (jnp.zeros((1, 1, 2, 2)),)
    >>> sums = loss.sums(heads, jnp.array([[[0, 1]]]), jnp.ones((1, 1, 2), bool))
    >>> round(float(loss.from_sums(sums)), 4), round(0.69315 + 0.5 / 3, 4)
    (0.8598, 0.8598)

    The sums of the parts of a batch add up to the sums of the batch:

    >>> import jax
    >>> parts = [loss.sums((heads[0][:, :, i : i + 1],), jnp.array([[[i]]]), jnp.array([[[True]]])) for i in (0, 1)]
    >>> round(float(loss.from_sums(jax.tree.map(jnp.add, *parts))), 4)
    0.8598

    Args:
      weights: the weight of each loss by its name in `LOSSES`; a loss of weight 0 is not computed.
      activation: "softmax" or "sigmoid", that of the network.
      num_classes: K.
      class_weights: K weights; () for equal weights.
      head_weights: one weight per head, shallow to deep; () for 1 / (number of heads). The U-Net++ paper has 1 for each.
      options: keyword arguments of losses by their name, such as `{"focal": {"gamma": 1.0}}`; the defaults are in the builders.

    Returns:
      A Loss. Its `sums` takes a tuple of heads `([B, H, W, K], ...)` in place of logits. It needs the weight map if one of its
      losses does.

    Raises:
      UserError: a loss or an option is unknown; a weight or an option is not allowed; a loss needs the other activation; or
        the number of class weights is not `num_classes`. From `sums`: the number of head weights is not that of the heads,
        or the weight map is missing.
    """
    options = options or {}
    check_weights(weights, class_weights, head_weights)
    check_names(weights, options)
    if class_weights and len(class_weights) != num_classes:
        raise UserError(f"loss.class_weights {tuple(class_weights)}: give {num_classes} weights, one per class")
    # Always K weights, because some losses look them up by class id.
    by_class = jnp.asarray(class_weights or (1.0,) * num_classes, jnp.float32)
    parts = {
        name: (part, float(weights[name])) for name, part in _build_each(weights, activation, by_class, options).items()
    }
    mapped = [name for name, (part, _) in parts.items() if part.needs_weight_map]

    def shares(heads):
        if head_weights and len(head_weights) != len(heads):
            raise UserError(
                f"loss.head_weights has {len(head_weights)} values, but the network has {len(heads)} heads; give one per head"
            )
        return head_weights or (1 / len(heads),) * len(heads)

    def sums(heads, mask, valid, weight_map=None):
        shares(heads)
        if mapped and weight_map is None:
            raise UserError(f"loss {mapped[0]} needs the weight map of the data; set data.weight_map=True")
        extra = {name: (weight_map,) if name in mapped else () for name in parts}
        return [
            {name: part.sums(logits, mask, valid, *extra[name]) for name, (part, _) in parts.items()}
            for logits in heads
        ]

    def from_sums(sums):
        return sum(
            share * sum(weight * part.from_sums(head[name]) for name, (part, weight) in parts.items())
            for share, head in zip(shares(sums), sums, strict=True)
        )

    return Loss(sums, from_sums, bool(mapped))


def check_losses(*, weights: Mapping[str, float], activation: str, options: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks the losses of a config without a network. Starts no device.

    Args:
      weights: as for `create_loss`.
      activation: as for `create_loss`.
      options: as for `create_loss`.

    Raises:
      UserError: a loss or an option is unknown, an option is not allowed, or a loss needs the other activation.
    """
    check_names(weights, options)
    # A NumPy array, because a JAX array would start the devices. No check depends on the number of classes.
    _build_each(weights, activation, np.ones(2, np.float32), options)


def check_names(weights: Mapping[str, float], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks the names of losses and of their options.

    Args:
      weights: as for `create_loss`.
      options: as for `create_loss`.

    Raises:
      UserError: a loss or an option is unknown.
    """
    for key, names in (("weights", weights), ("options", options)):
        unknown = set(names) - set(LOSSES)
        if unknown:
            raise UserError(f"loss.{key}.{min(unknown)} is unknown; choose one of {', '.join(LOSSES)}")
    for name, values in options.items():
        known = [option for option in inspect.signature(LOSSES[name]).parameters if option not in BUILT_WITH]
        for option in values:
            if option not in known:
                listed = ", ".join(known) or "none"
                raise UserError(f"loss.options.{name}.{option} is unknown; choose one of {listed}")


def _build_each(weights: Mapping[str, float], activation: str, by_class, options) -> dict[str, Loss]:
    """Builds each loss whose weight is not 0, by name."""
    return {
        name: LOSSES[name](activation, by_class, **options.get(name, {})) for name, weight in weights.items() if weight
    }
