"""Losses against plain NumPy loops, against optax, on cases made by hand, and from the sums of parts."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import by_loop

from unet_jax.errors import UserError
from unet_jax.training.losses.registry import LOSSES, create_loss

ACTIVATION = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "bce_dice": "sigmoid"}
CASES = [
    (name, activation)
    for name in LOSSES
    for activation in ("softmax", "sigmoid")
    if ACTIVATION.get(name, activation) == activation
]
OPTIONS = {
    "weighted_cross_entropy": {"w0": 3.0},
    "focal": {"gamma": 1.5},
    "tversky": {"alpha": 0.2, "beta": 0.9},
    "focal_tversky": {"alpha": 0.2, "beta": 0.9, "gamma": 2.0},
}


def create(name, activation="softmax", num_classes=3, **options):
    return create_loss(
        weights={name: 1.0}, activation=activation, num_classes=num_classes, **{"options": OPTIONS} | options
    )


def value_of(loss, logits, *batch):
    return loss.from_sums(loss.sums((logits,), *batch))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    mask = rng.integers(0, 3, (2, 5, 6))
    valid = rng.random((2, 5, 6)) > 0.3
    return logits, np.where(valid, mask, 255), valid, rng.random((2, 5, 6)).astype(np.float32)


@pytest.mark.parametrize(("name", "activation"), CASES)
@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5)])
def test_equals_a_loop(batch, name, activation, weights):
    loss = create(name, activation, class_weights=weights)
    options = OPTIONS.get(name, {})
    expected = by_loop.LOSSES[name](
        *batch, weights=np.array(weights or (1.0, 1.0, 1.0)), activation=activation, **options
    )
    np.testing.assert_allclose(value_of(loss, *batch), expected, rtol=3e-6, atol=1e-6)


def test_equals_optax_where_all_is_valid(batch):
    logits, mask, *_ = batch
    mask, valid = np.minimum(mask, 2), np.ones(mask.shape, bool)
    loss = create("cross_entropy")
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, mask).mean()
    np.testing.assert_allclose(loss.from_sums(loss.sums((logits,), mask, valid)), expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "activation"), CASES)
def test_sums_of_parts_give_the_loss_of_the_whole(batch, name, activation):
    loss = create(name, activation)
    parts = [loss.sums((batch[0][i : i + 1],), *(x[i : i + 1] for x in batch[1:])) for i in range(2)]
    np.testing.assert_allclose(loss.from_sums(jax.tree.map(jnp.add, *parts)), value_of(loss, *batch), rtol=2e-6)


@pytest.mark.parametrize(("name", "activation"), CASES)
def test_void_pixels_do_not_count(batch, name, activation):
    loss, (logits, mask, valid, weight) = create(name, activation), batch
    changed = np.where(valid[..., None], logits, logits + 3)
    a, b = (value_of(loss, x, mask, valid, weight) for x in (logits, changed))
    assert a == b
    assert np.isfinite(value_of(loss, logits, mask, np.zeros_like(valid), weight))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "activation"), CASES)
def test_n_devices_equal_one(batch, name, activation):
    """Value and gradient of the sums over two devices with unequal numbers of valid pixels, added as the step adds them."""
    loss, (logits, *rest) = create(name, activation), batch
    rest[1][0, :4] = False

    def of_device(logits, mask, valid, weight):
        return loss.from_sums(jax.lax.psum(loss.sums((logits,), mask, valid, weight), "devices"))

    one, two = (
        jax.jit(jax.vmap(jax.value_and_grad(of_device), axis_name="devices"))(
            *(x.reshape(n, 2 // n, *x.shape[1:]) for x in batch)
        )
        for n in (1, 2)
    )
    np.testing.assert_allclose(two[0], np.repeat(one[0], 2), rtol=2e-6)
    gradient = one[1].reshape(logits.shape)
    assert np.abs(gradient[0]).max() > 1e-4 < np.abs(gradient[1]).max()
    np.testing.assert_allclose(two[1].reshape(logits.shape) / 2, gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "activation"), CASES)
def test_finite_where_the_network_is_sure(name, activation):
    """Value and gradient at huge and at equal logits, right and wrong, classes absent, pixels void."""
    rows = [(s * 1e4, -s * 1e4, t * 1e4) for s in (-1, 0, 1) for t in (-1, 0, 1)]
    logits = np.array(rows, np.float32).reshape(1, 3, 3, 3)
    for options in (OPTIONS, {"focal": {"gamma": 0.5}, "focal_tversky": {"gamma": 3.0}}):
        loss = create(name, activation, options=options)
        evaluate = jax.jit(
            jax.value_and_grad(lambda x, mask, loss=loss: value_of(loss, x, mask, mask != 255, mask * 0.1))
        )
        for factor, truth in itertools.product((1, 1e-3, 1e-5), (0, 2, 255)):
            value, gradient = evaluate(np.float32(factor) * logits, np.full((1, 3, 3), truth))
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()
        if name not in OPTIONS:
            break


@pytest.mark.parametrize(("name", "activation"), CASES)
def test_a_step_against_the_gradient_lowers_it(batch, name, activation):
    loss, (logits, *rest) = create(name, activation), batch
    evaluate = jax.jit(jax.value_and_grad(lambda x: value_of(loss, x, *rest)))
    value, gradient = evaluate(logits)
    assert evaluate(logits - 0.1 * gradient / np.abs(gradient).max())[0] < value


def test_bce_dice_by_hand():
    """One pixel of class 1 with p = 1/2: ½ ln 2 − (2·½ + 1) / (½ + 1 + 1)."""
    loss = create("bce_dice", "sigmoid", num_classes=1)
    value = value_of(loss, jnp.zeros((1, 1, 1, 1)), jnp.ones((1, 1, 1), int), jnp.ones((1, 1, 1), bool))
    np.testing.assert_allclose(value, 0.5 * np.log(2) - 2 / 2.5, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, activation in CASES if activation == "sigmoid"])
def test_overlapping_masks_count_in_every_channel(batch, name):
    """Disjoint 0/1 masks give the same loss as their ids; a second class on a pixel changes the loss."""
    logits, mask, valid, weight = batch
    ids = np.minimum(mask, 2)
    loss, channels = create(name, "sigmoid"), np.eye(3, dtype=np.int32)[ids]
    a, b = (value_of(loss, logits, m, valid, weight) for m in (ids, channels))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    channels[..., 1] = 1
    assert abs(value_of(loss, logits, channels, valid, weight) - a) > 1e-3


@pytest.mark.parametrize("name", ["cross_entropy", "weighted_cross_entropy", "focal"])
def test_overlapping_masks_are_no_class_ids(batch, name):
    logits, mask, valid, weight = batch
    with pytest.raises(UserError, match=f"loss {name} .*binary_cross_entropy"):
        value_of(create(name), logits, np.eye(3, dtype=np.int32)[np.minimum(mask, 2)], valid, weight)


def test_weighted_sum_over_losses_and_heads(batch):
    logits, mask, valid, _ = batch
    heads = (logits, 2 * logits)
    both = create_loss(
        weights={"cross_entropy": 1.0, "dice": 0.5}, activation="softmax", num_classes=3, head_weights=(1, 3)
    )
    one = {name: create(name) for name in ("cross_entropy", "dice")}
    parts = {n: [loss.from_sums(loss.sums((head,), mask, valid)) for head in heads] for n, loss in one.items()}
    expected = sum(w * (parts["cross_entropy"][i] + 0.5 * parts["dice"][i]) for i, w in enumerate((1, 3)))
    np.testing.assert_allclose(both.from_sums(both.sums(heads, mask, valid)), expected, rtol=1e-6)
    mean = create("dice")
    np.testing.assert_allclose(mean.from_sums(mean.sums(heads, mask, valid)), np.mean(parts["dice"]), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({"weights": {"hinge": 1.0}}, "loss.weights", "hinge"),
        ({"weights": {"dice": 0.0}}, "loss.weights", "{'dice': 0.0}"),
        ({"weights": {"cross_entropy": 1.0, "dice": float("nan")}}, "loss.weights.dice", "nan"),
        ({"weights": {"dice": -1.0}}, "loss.weights.dice", "-1.0"),
        ({"weights": {"dice": 1.0}, "head_weights": (1.0, float("inf"))}, "loss.head_weights", "(1.0, inf)"),
        ({"weights": {"dice": 1.0}, "head_weights": (0.0, 0.0)}, "loss.head_weights", "(0.0, 0.0)"),
        ({"weights": {"dice": 1.0}, "head_weights": ("a",)}, "loss.head_weights", "('a',)"),
        ({"weights": {"bce_dice": 1.0}}, "model.activation 'sigmoid'", "'softmax'"),
        ({"weights": {"dice": 1.0}, "class_weights": (1.0,)}, "loss.class_weights", "(1.0,)"),
        ({"weights": {"dice": 1.0}, "options": {"hinge": {}}}, "loss.options", "hinge"),
        ({"weights": {"dice": 1.0}, "options": {"dice": {"gamma": 1.0}}}, "loss.options.dice", "gamma"),
        ({"weights": {"dice": 1.0}, "options": {"focal": {"weights": 1.0}}}, "loss.options.focal", "weights"),
        ({"weights": {"focal": 1.0}, "options": {"focal": {"gamma": -1}}}, "loss.options.focal.gamma", "-1"),
        ({"weights": {"focal": 1.0}, "options": {"focal": {"gamma": float("inf")}}}, "loss.options.focal.gamma", "inf"),
        (
            {"weights": {"tversky": 1.0}, "options": {"tversky": {"alpha": 0, "beta": 0}}},
            "loss.options.tversky",
            "alpha and beta are both 0",
        ),
        (
            {"weights": {"focal_tversky": 1.0}, "options": {"focal_tversky": {"gamma": 0}}},
            "loss.options.focal_tversky.gamma",
            "0",
        ),
    ],
)
def test_bad_values_are_named(options, key, value):
    with pytest.raises(UserError, match=f"{re.escape(key)}.*{re.escape(value)}"):
        create_loss(activation="softmax", num_classes=3, **options)


def test_number_of_head_weights_must_fit(batch):
    loss = create("dice", head_weights=(1.0, 1.0))
    with pytest.raises(UserError, match=r"loss\.head_weights has 2 .* 1 heads"):
        loss.sums((batch[0],), *batch[1:])


def test_a_missing_weight_map_is_named(batch):
    with pytest.raises(UserError, match=r"weighted_cross_entropy.*data\.weight_map=True"):
        value_of(create("weighted_cross_entropy"), *batch[:3])
    assert create("weighted_cross_entropy").needs_weight_map
    assert not create("dice").needs_weight_map
