"""Each schedule against its formula, at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.errors import UserError
from unet_jax.training.optim.options import LENGTHLESS, SCHEDULES
from unet_jax.training.optim.schedules import create_schedule

STEPS = 20


def rates(num_steps=STEPS, **options):
    rate = create_schedule(learning_rate=2.0, num_steps=num_steps, **options)
    return np.asarray(jax.vmap(rate)(jnp.arange(STEPS + 5)))


def half_cosine(start, end, t):
    return start + (end - start) * (1 - np.cos(np.pi * t)) / 2


# By the fraction t of the steps after the warm-up.
FORMULAS = {
    "cosine": lambda t: half_cosine(2.0, 0.0, t),
    "poly": lambda t: 2.0 * (1 - t) ** 0.5,
    "one_cycle": lambda t: half_cosine(2.0, 2.0 / 250_000, t),
    "step": lambda t: 2.0 * (0.5 if t >= 0.25 else 1) * (0.5 if t >= 0.5 else 1),
    "constant": lambda t: 2.0,
    "plateau": lambda t: 2.0,
}
BOUNDARIES = {0: (5, 10), 4: (8, 12)}


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step_is_that_of_the_formula(name, warmup):
    # Without a warm-up "one_cycle" rises for 0.3 of the run.
    rise = 6 if name == "one_cycle" and not warmup else warmup
    options = {"boundaries": BOUNDARIES[warmup], "lr_drop_factor": 0.5} if name == "step" else {"power": 0.5}
    expected = []
    for step in range(STEPS + 5):
        if step >= rise:
            expected.append(FORMULAS[name](min((step - rise) / (STEPS - rise), 1)))
        elif name == "one_cycle":
            expected.append(half_cosine(2.0 / 25, 2.0, step / rise))
        else:
            expected.append(2.0 * (1 + step) / (warmup + 1))
    np.testing.assert_allclose(rates(name=name, warmup_steps=warmup, **options), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_which_schedules_depend_on_the_length(name):
    """Exactly the schedules that a run may be made longer with (resume.py) have the same rates in a run twice as long."""
    options = {"name": name, "boundaries": (5, 10) if name == "step" else ()}
    equal = np.array_equal(rates(**options)[:STEPS], rates(num_steps=2 * STEPS, **options)[:STEPS])
    assert equal == (name in LENGTHLESS)


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({"name": "zigzag"}, "optim.schedule", "'zigzag'.*cosine"),
        ({"name": "poly", "power": 0.0}, "optim.power", "0.0"),
        ({"name": "poly", "power": float("inf")}, "optim.power", "inf"),
        ({"name": "step"}, "optim.boundaries", "'step'"),
        ({"name": "cosine", "boundaries": (5,)}, "optim.boundaries", r"\(5,\).*'cosine'"),
        ({"name": "step", "boundaries": (10, 5)}, "optim.boundaries", r"\(10, 5\)"),
        ({"name": "step", "boundaries": (3,), "warmup_steps": 4}, "optim.boundaries", r"\(3,\).*the 4 steps"),
        ({"name": "step", "boundaries": (5,), "lr_drop_factor": 1.0}, "optim.lr_drop_factor", "1.0"),
        ({"name": "one_cycle", "num_steps": 1}, "optim.schedule", "'one_cycle'.*2 steps"),
        ({"name": "cosine", "warmup_steps": 20}, "optim.warmup_steps", "20"),
    ],
)
def test_bad_values_are_named(options, key, value):
    with pytest.raises(UserError, match=f"{key}.*{value}"):
        rates(**options)
