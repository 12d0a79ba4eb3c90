r"""The losses by name, and their weighted sum: sums and a value, exact on any number of devices.

A loss is a pair of pure functions. `sums(logits, mask, valid) -> sums` reduces a (part of a) batch to a pytree of sums;
`from_sums(sums) -> scalar` turns the sums of the *whole* batch into the loss. The step adds the sums over devices between
the two, so a Dice of the global batch stays one, and unequal numbers of valid pixels per device weigh as they should.

Shapes: logits `[B, H, W, K]` float32; mask `[B, H, W]` class ids, or `[B, H, W, K]` 0/1 where classes may overlap;
valid `[B, H, W]` bool, False where a pixel counts for nothing (void, padding); weight map `[B, H, W]` float32, for those
losses alone that need it (`needs_weight_map`).

To add a loss: write a builder `name(activation, weights, **options) -> Loss`, add its row to `LOSSES`, and a weight for it
to `loss.weights` in `configs/default.py`, its options, if it has any, to `loss.options`.
"""

import inspect
from collections.abc import Mapping, Sequence
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

LOSSES = {
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


# What every builder is given; its other arguments are the loss's options.
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

    Two pixels of class 0 and 1, and a network that gives both classes the probability 1/2: the cross entropy is ln 2.

    >>> loss = create_loss(weights={"cross_entropy": 1.0}, activation="softmax", num_classes=2)
    >>> heads = (jnp.zeros((1, 1, 2, 2)),)
    >>> sums = loss.sums(heads, jnp.array([[[0, 1]]]), jnp.ones((1, 1, 2), bool))
    >>> round(float(loss.from_sums(sums)), 4)
    0.6931

    Args:
      weights: weight of each loss of `LOSSES`; a weight of 0 leaves it out.
      activation: softmax or sigmoid, as the model's.
      num_classes: K.
      class_weights: K weights, or none for equal ones.
      head_weights: one weight per head, shallow to deep, or none for 1 / (number of heads). The U-Net++ paper's are 1 each.
      options: the keyword arguments of losses, by name, where they are not to be the defaults.

    Returns:
      A Loss whose `sums` takes the tuple of heads `([B, H, W, K], ...)` in place of one head's logits. Where one of its
      losses needs the weight map, so does it.

    Raises:
      UserError: as `check_weights` and `check_names`; or a loss does not go with the activation, an option is outside its domain, or
        there are not as many class weights as classes.
    """
    options = options or {}
    check_weights(weights, class_weights, head_weights)
    check_names(weights, options)
    if class_weights and len(class_weights) != num_classes:
        raise UserError(f"loss.class_weights {tuple(class_weights)}: there must be {num_classes}, one per class")
    # [1, 1, 1, K] against the channels, [K] when looked up by id: K weights always, 1 each by default.
    by_class = jnp.asarray(class_weights or (1.0,) * num_classes, jnp.float32)
    parts = {
        name: (part, float(weights[name])) for name, part in _build_each(weights, activation, by_class, options).items()
    }
    mapped = [name for name, (part, _) in parts.items() if part.needs_weight_map]

    def shares(heads):
        if head_weights and len(head_weights) != len(heads):
            raise UserError(
                f"loss.head_weights has {len(head_weights)} values, the network {len(heads)} heads; give one each"
            )
        return head_weights or (1 / len(heads),) * len(heads)

    def sums(heads, mask, valid, weight_map=None):
        shares(heads)
        if mapped and weight_map is None:
            raise UserError(f"loss {mapped[0]} needs the data's weight map; set data.weight_map=True")
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
    """Checks the losses without a network; arguments as for `create_loss`. Starts no device.

    Raises:
      UserError: a loss or an option is unknown, an option is outside its domain, or a loss needs another activation.
    """
    check_names(weights, options)
    # An array of NumPy: one of JAX would start the devices. How many classes there are matters to no check.
    _build_each(weights, activation, np.ones(2, np.float32), options)


def check_names(weights: Mapping[str, float], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks the names of losses and of their options; arguments as for `create_loss`.

    Raises:
      UserError: a loss or an option is unknown.
    """
    for key, names in (("weights", weights), ("options", options)):
        unknown = set(names) - set(LOSSES)
        if unknown:
            raise UserError(f"loss.{key}: unknown loss {sorted(unknown)}; known: {', '.join(LOSSES)}")
    for name, values in options.items():
        known = [option for option in inspect.signature(LOSSES[name]).parameters if option not in BUILT_WITH]
        for option in values:
            if option not in known:
                listed = ", ".join(known) or "none"
                raise UserError(f"loss.options.{name}.{option}: no such option; loss {name} has: {listed}")


def _build_each(weights: Mapping[str, float], activation: str, by_class, options) -> dict[str, Loss]:
    """Builds each loss whose weight is not 0, by name."""
    return {
        name: LOSSES[name](activation, by_class, **options.get(name, {})) for name, weight in weights.items() if weight
    }
