r"""Losses as sums and a value: exact on any number of devices.

A loss is a pair of pure functions. `terms(logits, mask, valid) -> sums` reduces a (part of a) batch to a pytree of sums;
`value(sums) -> scalar` turns the sums of the *whole* batch into the loss. The step adds the sums over devices between
the two, so a Dice of the global batch stays one, and unequal numbers of valid pixels per device weigh as they should.

Shapes: logits `[B, H, W, K]` float32; mask `[B, H, W]` class ids, or `[B, H, W, K]` 0/1 where classes may overlap;
valid `[B, H, W]` bool, False where a pixel counts for nothing (void, padding); weight `[B, H, W]` float32, the data's
weight map, for those losses alone that are `weighted`.

To add a loss: write a builder `name(activation, weights, **knobs) -> Loss`, add its row to `LOSSES`, and a weight for it
to `loss.terms` in `configs/default.py`, its knobs, if it has any, to `loss.knobs`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from unet_jax.errors import UserError
from unet_jax.training.losses.cross_entropy import (
    binary_cross_entropy,
    cross_entropy,
    focal,
    weighted_cross_entropy,
)
from unet_jax.training.losses.loss import Loss
from unet_jax.training.losses.lovasz import lovasz
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


def create_loss(
    *,
    terms: Mapping[str, float],
    activation: str,
    num_classes: int,
    class_weights: Sequence[float] = (),
    head_weights: Sequence[float] = (),
    knobs: Mapping[str, Mapping[str, Any]] | None = None,
) -> Loss:
    """A weighted sum of losses, averaged over the heads of a network.

    Args:
      terms: weight of each loss of `LOSSES`; a weight of 0 leaves it out.
      activation: softmax or sigmoid, as the model's.
      num_classes: K.
      class_weights: K weights, or none for equal ones.
      head_weights: one weight per head, shallow to deep, or none for 1 / (number of heads). The U-Net++ paper's are 1 each.
      knobs: the keyword arguments of losses, by name, where they are not to be the defaults.

    Returns:
      A Loss whose `terms` takes the tuple of heads `([B, H, W, K], ...)` in place of one head's logits; it takes a weight
      map, too, where one of its losses is `weighted`.
    """
    knobs = knobs or {}
    for key, names in (("terms", terms), ("knobs", knobs)):
        unknown = set(names) - set(LOSSES)
        if unknown:
            raise UserError(f"loss.{key}: unknown loss {sorted(unknown)}; known: {', '.join(LOSSES)}")
    if not all(0 <= w < math.inf for w in terms.values()) or not any(terms.values()):
        raise UserError(f"loss.terms {dict(terms)}: give at least one loss a finite weight above 0, and none below")
    for name, weights, known in (("class_weights", class_weights, num_classes), ("head_weights", head_weights, None)):
        if not all(isinstance(w, int | float) for w in weights):
            raise UserError(f"loss.{name} {tuple(weights)}: give numbers")
        if weights and (
            not all(0 <= w < math.inf for w in weights) or not sum(weights) > 0 or (known and len(weights) != known)
        ):
            raise UserError(
                f"loss.{name} {tuple(weights)}: all must be finite, none negative, one above 0"
                + (f", and there must be {known}, one per class" if known else "")
            )
    # [1, 1, 1, K] against the channels, [K] when looked up by id: K weights always, 1 each by default.
    weights = jnp.asarray(class_weights or (1.0,) * num_classes, jnp.float32)
    parts = {
        name: (LOSSES[name](activation, weights, **knobs.get(name, {})), float(w)) for name, w in terms.items() if w
    }
    weighted = [name for name, (part, _) in parts.items() if part.weighted]

    def head_shares(heads):
        if head_weights and len(head_weights) != len(heads):
            raise UserError(
                f"loss.head_weights has {len(head_weights)} values, the network {len(heads)} heads; give one each"
            )
        return head_weights or (1 / len(heads),) * len(heads)

    def total_terms(heads, mask, valid, weight=None):
        head_shares(heads)
        if weighted and weight is None:
            raise UserError(f"loss {weighted[0]} needs the data's weight map; set data.weight_map=True")
        extra = {name: (weight,) if part.weighted else () for name, (part, _) in parts.items()}
        return [
            {name: part.terms(logits, mask, valid, *extra[name]) for name, (part, _) in parts.items()}
            for logits in heads
        ]

    def total_value(sums):
        return sum(
            share * sum(w * part.value(head[name]) for name, (part, w) in parts.items())
            for share, head in zip(head_shares(sums), sums, strict=True)
        )

    return Loss(total_terms, total_value, bool(weighted))
