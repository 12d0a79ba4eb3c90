"""Schedules at their corners; what decays; clipping; one step of each optimiser by hand."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unet_jax.errors import UserError
from unet_jax.training import optim

PARAMS = {"enc_0": {"kernel": jnp.array([2.0, -1.0]), "bias": jnp.array([3.0])}, "norm": {"scale": jnp.array([1.0])}}
GRADS = {"enc_0": {"kernel": jnp.array([0.3, 0.4]), "bias": jnp.array([0.0])}, "norm": {"scale": jnp.array([0.0])}}


def step(**knobs):
    tx, _ = optim.create(**{"learning_rate": 0.1, "num_steps": 10, "schedule": "constant", **knobs})
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    return optax.tree.sub(optax.apply_updates(PARAMS, updates), PARAMS)


@pytest.mark.parametrize(("name", "half"), [("cosine", 0.5), ("poly", 0.5**0.9), ("constant", 1.0)])
def test_schedule_corners(name, half):
    rate = optim.create_schedule(name=name, learning_rate=2.0, num_steps=110, warmup_steps=10)
    assert 0 < rate(0) < 0.2
    np.testing.assert_allclose([rate(5), rate(10), rate(60)], [(2 / 11 + 2.0) / 2, 2.0, 2.0 * half], rtol=1e-4)
    np.testing.assert_allclose(rate(110), 2.0 if name == "constant" else 0.0, atol=1e-7)


def test_sgd_by_hand_and_decay_on_kernels_only():
    change = step(name="sgd", weight_decay=0.5)
    np.testing.assert_allclose(
        change["enc_0"]["kernel"], -0.1 * (GRADS["enc_0"]["kernel"] + 0.5 * PARAMS["enc_0"]["kernel"]), rtol=1e-5
    )
    assert change["enc_0"]["bias"] == 0
    assert change["norm"]["scale"] == 0


def test_adam_decay_goes_through_the_moments_and_adamw_past_them():
    # The first step of Adam is the sign of its gradient; the penalty turns that of the second entry: 0.4 - 0.5 < 0.
    np.testing.assert_allclose(step(name="adam", weight_decay=0.5)["enc_0"]["kernel"], [-0.1, 0.1], rtol=1e-4)
    expected = -0.1 * np.sign(GRADS["enc_0"]["kernel"]) - 0.1 * 0.5 * PARAMS["enc_0"]["kernel"]
    np.testing.assert_allclose(step(name="adamw", weight_decay=0.5)["enc_0"]["kernel"], expected, rtol=1e-4)


def test_clipping_bounds_the_global_norm():
    np.testing.assert_allclose(
        step(name="sgd", grad_clip=0.25)["enc_0"]["kernel"], [-0.1 * 0.15, -0.1 * 0.2], rtol=1e-5
    )
    np.testing.assert_allclose(step(name="sgd", grad_clip=0.6)["enc_0"]["kernel"], [-0.1 * 0.3, -0.1 * 0.4], rtol=1e-4)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"name": "lion"}, "'lion' is unknown; known: adamw"),
        ({"name": "sgd", "schedule": "zigzag"}, "'zigzag' is unknown"),
        ({"name": "sgd", "learning_rate": 0.0}, "must be above 0"),
        ({"name": "sgd", "warmup_steps": 10}, "below train.num_steps 10"),
        ({"name": "sgd", "weight_decay": -1.0}, "weight_decay -1.0"),
    ],
)
def test_bad_values_are_named(knobs, message):
    with pytest.raises(UserError, match=message):
        step(**knobs)
