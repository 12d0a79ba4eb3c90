"""The first steps of each optimiser by hand, weight decay, clipping, frozen parts, and parts with another learning rate."""

import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unet_jax.errors import UserError
from unet_jax.training.optim.optimizer import create_optimizer

PARAMS = {"enc_0": {"kernel": jnp.array([2.0, -1.0]), "bias": jnp.array([3.0])}, "norm": {"scale": jnp.array([1.0])}}
GRADS = {"enc_0": {"kernel": jnp.array([0.3, 0.4]), "bias": jnp.array([0.0])}, "norm": {"scale": jnp.array([0.0])}}


def step(grads=GRADS, **options):
    tx, _ = create_optimizer(**{"learning_rate": 0.1, "num_steps": 10, "schedule": "constant", **options})
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    return optax.tree.sub(optax.apply_updates(PARAMS, updates), PARAMS)


def adam(g, s, t, b1=0.9, b2=0.999):
    s["m"], s["v"] = b1 * s["m"] + (1 - b1) * g, b2 * s["v"] + (1 - b2) * g**2
    return s["m"] / (1 - b1**t) / (np.sqrt(s["v"] / (1 - b2**t)) + 1e-8)


def sgd(g, s, t):
    s["m"] = g + 0.99 * s["m"]
    return s["m"]


def nesterov(g, s, t):
    s["m"] = g + 0.99 * s["m"]
    return g + 0.99 * s["m"]


def rmsprop(g, s, t):
    s["v"] = 0.95 * s["v"] + 0.05 * g**2
    s["m"] = g / (np.sqrt(s["v"]) + 1e-8) + 0.5 * s["m"]
    return s["m"]


def lion(g, s, t):
    change, s["m"] = np.sign(0.9 * s["m"] + 0.1 * g), 0.99 * s["m"] + 0.01 * g
    return change


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        (adam, {"name": "adam"}),
        (adam, {"name": "adamw"}),
        (sgd, {"name": "sgd", "momentum": 0.99}),
        (nesterov, {"name": "sgd", "momentum": 0.99, "nesterov": True}),
        (rmsprop, {"name": "rmsprop", "rmsprop_decay": 0.95, "momentum": 0.5}),
        (lion, {"name": "lion", "b2": 0.99}),
    ],
)
def test_first_steps_are_those_of_the_formula(formula, options):
    """Three steps w -= 0.1 u. AdamW and Lion also subtract their decoupled decay, 0.1 * 0.5 w."""
    decay = 0.5 if options["name"] in ("adamw", "lion") else 0.0
    tx, _ = create_optimizer(learning_rate=0.1, num_steps=10, schedule="constant", weight_decay=decay, **options)
    params = {"kernel": jnp.array([2.0, -1.0, 0.5])}
    state, moments = tx.init(params), {"m": np.zeros(3), "v": np.zeros(3)}
    w = np.array(params["kernel"], np.float64)
    for t, gradient in enumerate(([0.3, -0.4, 0.0], [0.1, 0.2, -1.0], [-3.0, 0.1, 0.1]), 1):
        updates, state = tx.update({"kernel": jnp.array(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        w = w - 0.1 * (formula(np.array(gradient), moments, t) + decay * w)
        np.testing.assert_allclose(params["kernel"], w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop"])
def test_l2_goes_before_the_moments(name):
    with_l2 = step(name=name, weight_decay=0.5)["enc_0"]["kernel"]
    grads = {**GRADS, "enc_0": {**GRADS["enc_0"], "kernel": GRADS["enc_0"]["kernel"] + 0.5 * PARAMS["enc_0"]["kernel"]}}
    np.testing.assert_allclose(with_l2, step(grads, name=name)["enc_0"]["kernel"], rtol=1e-5)


def test_rates_of_parts():
    grads = {**GRADS, "enc_0": {"kernel": GRADS["enc_0"]["kernel"], "bias": jnp.array([1.0])}}
    plain, parts = (step(grads, name="adam", lr_multipliers=r) for r in ((), (("enc_0/*", 0.5), ("*/bias", 0.1))))
    np.testing.assert_allclose(parts["enc_0"]["kernel"], 0.5 * plain["enc_0"]["kernel"], rtol=1e-5)
    # Both patterns match; the last one counts.
    np.testing.assert_allclose(parts["enc_0"]["bias"], 0.1 * plain["enc_0"]["bias"], rtol=1e-5)
    grads["norm"] = {"scale": jnp.array([1.0])}
    assert (
        step(grads, name="adam", lr_multipliers=(("enc_0/*", 0.5),))["norm"]["scale"]
        == step(grads, name="adam")["norm"]["scale"]
    )


def test_clipping_is_of_what_is_trained():
    grads = {**GRADS, "norm": {"scale": jnp.array([100.0])}}
    change = step(grads, name="sgd", grad_clip=0.25, freeze=("norm/*",))
    np.testing.assert_allclose(change["enc_0"]["kernel"], [-0.1 * 0.15, -0.1 * 0.2], rtol=1e-5)
    assert change["norm"]["scale"] == 0


def test_sgd_by_hand_and_decay_on_kernels_only():
    change = step(name="sgd", weight_decay=0.5)
    np.testing.assert_allclose(
        change["enc_0"]["kernel"], -0.1 * (GRADS["enc_0"]["kernel"] + 0.5 * PARAMS["enc_0"]["kernel"]), rtol=1e-5
    )
    assert change["enc_0"]["bias"] == 0
    assert change["norm"]["scale"] == 0


def test_decay_goes_through_adams_moments_and_past_adamws():
    # The first step of Adam is the sign of the gradient. The penalty changes that of the second entry: 0.4 - 0.5 < 0.
    np.testing.assert_allclose(step(name="adam", weight_decay=0.5)["enc_0"]["kernel"], [-0.1, 0.1], rtol=1e-4)
    expected = -0.1 * np.sign(GRADS["enc_0"]["kernel"]) - 0.1 * 0.5 * PARAMS["enc_0"]["kernel"]
    np.testing.assert_allclose(step(name="adamw", weight_decay=0.5)["enc_0"]["kernel"], expected, rtol=1e-4)


def test_clipping_bounds_the_global_norm():
    np.testing.assert_allclose(
        step(name="sgd", grad_clip=0.25)["enc_0"]["kernel"], [-0.1 * 0.15, -0.1 * 0.2], rtol=1e-5
    )
    np.testing.assert_allclose(step(name="sgd", grad_clip=0.6)["enc_0"]["kernel"], [-0.1 * 0.3, -0.1 * 0.4], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({"name": "lamb"}, "optim.name", "'lamb'"),
        ({"schedule": "zigzag"}, "optim.schedule", "'zigzag'"),
        ({"learning_rate": 0.0}, "optim.learning_rate", "0.0"),
        ({"eps": 0.0}, "optim.eps", "0.0"),
        ({"weight_decay": float("inf")}, "optim.weight_decay", "inf"),
        ({"weight_decay": -1.0}, "optim.weight_decay", "-1.0"),
        ({"grad_clip": -1.0}, "optim.grad_clip", "-1.0"),
        ({"b1": 1.5}, "optim.b1", "1.5"),
        ({"b2": True}, "optim.b2", "True"),
        ({"momentum": float("nan")}, "optim.momentum", "nan"),
        ({"rmsprop_decay": 1.0}, "optim.rmsprop_decay", "1.0"),
        ({"warmup_steps": 10}, "optim.warmup_steps", "10"),
        ({"freeze": ("dec*",)}, "optim.freeze", "'dec*'; there are enc_0/*, norm/*"),
        ({"freeze": ("*",)}, "optim.freeze", "('*',)"),
        ({"freeze": "enc*"}, "optim.freeze", "'enc*'"),
        ({"freeze": 3}, "optim.freeze", "3"),
        ({"lr_multipliers": (("dec", 0.1),)}, "optim.lr_multipliers", "'dec'"),
        ({"lr_multipliers": (("norm/*", 0),)}, "optim.lr_multipliers 'norm/*'", "0"),
        ({"lr_multipliers": ("enc*", 0.1)}, "optim.lr_multipliers", "('enc*', 0.1)"),
    ],
)
def test_bad_values_are_named(options, key, value):
    with pytest.raises(UserError, match=f"{re.escape(key)}.*{re.escape(value)}"):
        step(**{"name": "sgd", **options})
