r"""Losses as sums and a value: exact on any number of devices.

A loss is a pair of pure functions. `terms(logits, mask, valid) -> sums` reduces a (part of a) batch to a pytree of sums;
`value(sums) -> scalar` turns the sums of the *whole* batch into the loss. The step adds the sums over devices between
the two, so a Dice of the global batch stays one, and unequal numbers of valid pixels per device weigh as they should.

Shapes: logits `[B, H, W, K]` float32; mask `[B, H, W]` class ids, or `[B, H, W, K]` 0/1 where classes may overlap;
valid `[B, H, W]` bool, False where a pixel counts for nothing (void, padding).

To add a loss: write a builder `name(activation, weights) -> Loss`, add its row to `LOSSES`, and a weight for it to
`loss.terms` in `configs/default.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from unet_jax.errors import UserError
from unet_jax.evaluation.metrics import truth_masks
from unet_jax.inference.predict import to_probabilities

SMOOTH = 1.0  # as in the code of U-Net++'s authors; keeps Dice defined where a class is absent


class Loss(NamedTuple):
    """The loss of a batch is `value(terms(logits, mask, valid))`; what `terms` returns may be added up over parts."""

    terms: Callable[..., Any]
    value: Callable[[Any], jax.Array]


def cross_entropy(activation: str, weights) -> Loss:
    """Softmax cross entropy, Σ w[y] (−log p[y]) / Σ w[y] over valid pixels (U-Net, eq. 1, with w_c alone)."""
    if activation != "softmax":
        raise UserError(
            f"loss cross_entropy needs model.activation 'softmax', not {activation!r}; use binary_cross_entropy"
        )

    def terms(logits, mask, valid):
        if mask.ndim == 4:
            raise UserError(
                "loss cross_entropy needs one class id per pixel, not overlapping masks; use binary_cross_entropy"
            )
        ids = jnp.where(valid, mask, 0)
        weight = weights[ids] * valid
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
        return {"loss": jnp.sum(loss * weight), "weight": jnp.sum(weight)}

    return Loss(terms, _mean)


def binary_cross_entropy(activation: str, weights) -> Loss:
    """Sigmoid cross entropy, each channel a mask of its own: the weighted mean over valid pixels and channels."""
    _need_sigmoid("binary_cross_entropy", activation)

    def terms(logits, mask, valid):
        loss = optax.sigmoid_binary_cross_entropy(logits, truth_masks(mask, logits.shape[-1]).astype(jnp.float32))
        weight = valid[..., None] * jnp.broadcast_to(weights, loss.shape)
        return {"loss": jnp.sum(loss * weight), "weight": jnp.sum(weight)}

    return Loss(terms, _mean)


def dice(activation: str, weights) -> Loss:
    """1 − Σ_k w_k D_k / Σ_k w_k, with D_k = (2 Σ p y + 1) / (Σ p + Σ y + 1) over all valid pixels of the batch."""

    def terms(logits, mask, valid):
        p, y = _predicted_and_true(logits, mask, valid, activation)
        return {"overlap": jnp.sum(p * y, (0, 1, 2)), "size": jnp.sum(p + y, (0, 1, 2))}

    def value(sums):
        per_class = (2 * sums["overlap"] + SMOOTH) / (sums["size"] + SMOOTH)
        return 1 - jnp.sum(weights * per_class) / jnp.sum(jnp.broadcast_to(weights, per_class.shape))

    return Loss(terms, value)


def bce_dice(activation: str, weights) -> Loss:
    """U-Net++'s loss as its authors' code has it: ½ binary cross entropy − Dice, Dice over the flattened batch.

    The paper prints L = −1/N Σ_b (½ Y log P + 2 Y P / (Y + P)) (DLMIA 2018, eq. 2). Channels are flattened too, so with
    several classes this is not the mean of their Dices; class weights act inside both sums. Its least value is −1.
    """
    _need_sigmoid("bce_dice", activation)
    entropy = binary_cross_entropy(activation, weights)

    def terms(logits, mask, valid):
        p, y = _predicted_and_true(logits, mask, valid, activation)
        return {
            "entropy": entropy.terms(logits, mask, valid),
            "overlap": jnp.sum(weights * jnp.sum(p * y, (0, 1, 2))),
            "size": jnp.sum(weights * jnp.sum(p + y, (0, 1, 2))),
        }

    def value(sums):
        return 0.5 * entropy.value(sums["entropy"]) - (2 * sums["overlap"] + SMOOTH) / (sums["size"] + SMOOTH)

    return Loss(terms, value)


LOSSES = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "dice": dice,
    "bce_dice": bce_dice,
}


def create(
    *,
    terms: Mapping[str, float],
    activation: str,
    num_classes: int,
    class_weights: Sequence[float] = (),
    head_weights: Sequence[float] = (),
) -> Loss:
    """A weighted sum of losses, averaged over the heads of a network.

    Args:
      terms: weight of each loss of `LOSSES`; a weight of 0 leaves it out.
      activation: softmax or sigmoid, as the model's.
      num_classes: K.
      class_weights: K weights, or none for equal ones.
      head_weights: one weight per head, shallow to deep, or none for 1 / (number of heads). The U-Net++ paper's are 1 each.

    Returns:
      A Loss whose `terms` takes the tuple of heads `([B, H, W, K], ...)` in place of one head's logits.
    """
    unknown = set(terms) - set(LOSSES)
    if unknown:
        raise UserError(f"loss.terms: unknown loss {sorted(unknown)}; known: {', '.join(LOSSES)}")
    if min(terms.values(), default=0) < 0 or not any(terms.values()):
        raise UserError(f"loss.terms {dict(terms)}: give at least one loss a weight above 0, and none below")
    for name, weights, known in (("class_weights", class_weights, num_classes), ("head_weights", head_weights, None)):
        if not all(isinstance(w, int | float) for w in weights):
            raise UserError(f"loss.{name} {tuple(weights)}: give numbers")
        if weights and (min(weights) < 0 or not sum(weights) > 0 or (known and len(weights) != known)):
            raise UserError(
                f"loss.{name} {tuple(weights)}: none may be negative, one must be above 0"
                + (f", and there must be {known}, one per class" if known else "")
            )
    # [1, 1, 1, K] against the channels, [K] when looked up by id: K weights always, 1 each by default.
    weights = jnp.asarray(class_weights or (1.0,) * num_classes, jnp.float32)
    parts = {name: (LOSSES[name](activation, weights), float(w)) for name, w in terms.items() if w}

    def head_shares(heads):
        if head_weights and len(head_weights) != len(heads):
            raise UserError(
                f"loss.head_weights has {len(head_weights)} values, the network {len(heads)} heads; give one each"
            )
        return head_weights or (1 / len(heads),) * len(heads)

    def total_terms(heads, mask, valid):
        head_shares(heads)
        return [{name: part.terms(logits, mask, valid) for name, (part, _) in parts.items()} for logits in heads]

    def total_value(sums):
        return sum(
            share * sum(w * part.value(head[name]) for name, (part, w) in parts.items())
            for share, head in zip(head_shares(sums), sums, strict=True)
        )

    return Loss(total_terms, total_value)


def _mean(sums):
    return sums["loss"] / jnp.maximum(sums["weight"], 1e-12)  # 0 where nothing at all is valid


def _predicted_and_true(logits, mask, valid, activation):
    count = valid[..., None].astype(jnp.float32)
    return to_probabilities(logits, activation) * count, truth_masks(mask, logits.shape[-1]) * count


def _need_sigmoid(name, activation):
    if activation != "sigmoid":
        raise UserError(f"loss {name} needs model.activation 'sigmoid', not {activation!r}")
