"""The moving average against the weighted mean that defines it."""

import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.errors import UserError
from unet_jax.training.optim import ema
from unet_jax.training.optim.options import DOMAINS


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_average_is_the_weighted_mean_of_what_the_steps_left(decay):
    rng = np.random.default_rng(0)
    left = rng.normal(size=(5, 3)).astype(np.float32)
    # The first value must not count.
    average = {"params": {"kernel": jnp.full(3, 1e6)}, "batch_stats": {"mean": jnp.full(3, -1e6)}}
    for t in range(1, 6):
        variables = {"params": {"kernel": left[t - 1]}, "batch_stats": {"mean": 2 * left[t - 1]}}
        average = ema.update_ema(average, variables, jnp.int32(t), decay)
        weights = decay ** np.arange(t - 1, -1, -1.0)
        expected = weights @ left[:t] / weights.sum()
        np.testing.assert_allclose(average["params"]["kernel"], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(average["batch_stats"]["mean"], 2 * expected, rtol=1e-4, atol=1e-5)
    assert average["params"]["kernel"].dtype == jnp.float32


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_bad_values_are_named(decay):
    with pytest.raises(UserError, match=rf"optim\.ema_decay {decay}"):
        DOMAINS["ema_decay"].check("optim.ema_decay", decay)
