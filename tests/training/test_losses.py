"""Losses against plain NumPy loops, against optax, on hand-made cases, and added up over parts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unet_jax.errors import UserError
from unet_jax.training import losses

ACTIVATION = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "bce_dice": "sigmoid"}
CASES = [(name, activation) for name in losses.LOSSES for activation in ("softmax", "sigmoid")
         if ACTIVATION.get(name, activation) == activation]  # fmt: skip


def create(name, activation="softmax", num_classes=3, **knobs):
    return losses.create(terms={name: 1.0}, activation=activation, num_classes=num_classes, **knobs)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    mask = rng.integers(0, 3, (2, 5, 6))
    valid = rng.random((2, 5, 6)) > 0.3
    return logits, np.where(valid, mask, 255), valid


def by_loop(name, activation, logits, mask, valid, weights):
    """The definition, pixel by pixel, in float64."""
    overlap, size, entropy, total, k = np.zeros(3), np.zeros(3), 0.0, 0.0, logits.shape[-1]
    for index in np.ndindex(mask.shape):
        if not valid[index]:
            continue
        z = logits[index].astype(np.float64)
        p = np.exp(z) / np.exp(z).sum() if activation == "softmax" else 1 / (1 + np.exp(-z))
        for c in range(k):
            y = float(mask[index] == c)
            overlap[c] += p[c] * y
            size[c] += p[c] + y
            if name == "cross_entropy" and y:
                entropy, total = entropy - weights[c] * np.log(p[c]), total + weights[c]
            elif name != "cross_entropy":
                entropy -= weights[c] * (y * np.log(p[c]) + (1 - y) * np.log(1 - p[c]))
                total += weights[c]
    if name == "dice":
        return 1 - np.average((2 * overlap + 1) / (size + 1), weights=weights)
    if name == "bce_dice":
        return 0.5 * entropy / total - (2 * weights @ overlap + 1) / (weights @ size + 1)
    return entropy / total


@pytest.mark.parametrize(("name", "activation"), CASES)
@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5)])
def test_equals_a_loop(batch, name, activation, weights):
    loss = create(name, activation, class_weights=weights)
    value = loss.value(loss.terms((batch[0],), *batch[1:]))
    expected = by_loop(name, activation, *batch, np.array(weights or (1.0, 1.0, 1.0)))
    np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-6)


def test_equals_optax_where_all_is_valid(batch):
    logits, mask, _ = batch
    mask, valid = np.minimum(mask, 2), np.ones(mask.shape, bool)
    loss = create("cross_entropy")
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, mask).mean()
    np.testing.assert_allclose(loss.value(loss.terms((logits,), mask, valid)), expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "activation"), CASES)
def test_sums_of_parts_give_the_loss_of_the_whole(batch, name, activation):
    loss = create(name, activation)
    parts = [loss.terms((batch[0][i : i + 1],), batch[1][i : i + 1], batch[2][i : i + 1]) for i in range(2)]
    whole = loss.value(loss.terms((batch[0],), *batch[1:]))
    np.testing.assert_allclose(loss.value(jax.tree.map(jnp.add, *parts)), whole, rtol=1e-6)


@pytest.mark.parametrize(("name", "activation"), CASES)
def test_void_pixels_do_not_count(batch, name, activation):
    loss, (logits, mask, valid) = create(name, activation), batch
    changed = np.where(valid[..., None], logits, logits + 3)
    a, b = (loss.value(loss.terms((x,), mask, valid)) for x in (logits, changed))
    assert a == b
    nothing = loss.value(loss.terms((logits,), mask, np.zeros_like(valid)))
    assert np.isfinite(nothing)


def test_bce_dice_by_hand():
    """One pixel of class 1 with p = 1/2: ½ ln 2 − (2·½ + 1) / (½ + 1 + 1)."""
    loss = create("bce_dice", "sigmoid", num_classes=1)
    value = loss.value(loss.terms((jnp.zeros((1, 1, 1, 1)),), jnp.ones((1, 1, 1), int), jnp.ones((1, 1, 1), bool)))
    np.testing.assert_allclose(value, 0.5 * np.log(2) - 2 / 2.5, rtol=1e-6)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "dice", "bce_dice"])
def test_overlapping_masks_count_in_every_channel(batch, name):
    """Disjoint 0/1 masks give what their ids give; a second class on a pixel changes it."""
    logits, mask, valid = batch
    ids = np.minimum(mask, 2)
    loss, channels = create(name, "sigmoid"), np.eye(3, dtype=np.int32)[ids]
    a, b = (loss.value(loss.terms((logits,), m, valid)) for m in (ids, channels))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    channels[..., 1] = 1
    assert abs(loss.value(loss.terms((logits,), channels, valid)) - a) > 1e-3


def test_weighted_sum_over_losses_and_heads(batch):
    logits, mask, valid = batch
    heads = (logits, 2 * logits)
    both = losses.create(
        terms={"cross_entropy": 1.0, "dice": 0.5}, activation="softmax", num_classes=3, head_weights=(1, 3)
    )
    one = {name: create(name) for name in ("cross_entropy", "dice")}
    parts = {n: [loss.value(loss.terms((head,), mask, valid)) for head in heads] for n, loss in one.items()}
    expected = sum(w * (parts["cross_entropy"][i] + 0.5 * parts["dice"][i]) for i, w in enumerate((1, 3)))
    np.testing.assert_allclose(both.value(both.terms(heads, mask, valid)), expected, rtol=1e-6)
    mean = create("dice")
    np.testing.assert_allclose(mean.value(mean.terms(heads, mask, valid)), np.mean(parts["dice"]), rtol=1e-6)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"terms": {"hinge": 1.0}}, "hinge.*known: cross_entropy"),
        ({"terms": {"dice": 0.0}}, "weight above 0"),
        ({"terms": {"bce_dice": 1.0}}, "needs model.activation 'sigmoid', not 'softmax'"),
        ({"terms": {"dice": 1.0}, "class_weights": (1.0,)}, "must be 3"),
        ({"terms": {"dice": 1.0}, "head_weights": (0.0, 0.0)}, "head_weights"),
    ],
)
def test_bad_values_are_named(knobs, message):
    with pytest.raises(UserError, match=message):
        losses.create(activation="softmax", num_classes=3, **knobs)


def test_number_of_head_weights_must_fit(batch):
    loss = create("dice", head_weights=(1.0, 1.0))
    with pytest.raises(UserError, match="2 values, the network 1 heads"):
        loss.terms((batch[0],), *batch[1:])
