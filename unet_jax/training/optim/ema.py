"""The moving average of the weights (Polyak and Juditsky 1992), for use in their place: `optim.ema_decay`.

With the weights w_s after step s and the decay d, after t steps

    ema_t = Σ_s d^(t−s) w_s / Σ_s d^(t−s),   s = 1 .. t
          = ema_{t−1} + a_t (w_t − ema_{t−1}),   a_t = (1 − d) / (1 − d^t):

the weights at the initialisation have no share, so it is of use from the first steps on. The running statistics of BatchNorm
are averaged in the same way: they are means over batches already, and those of the averaged weights to first order.
"""

import jax
import jax.numpy as jnp
import optax

from unet_jax.errors import UserError


def check(decay: float) -> None:
    """Raises UserError for a decay outside its domain."""
    if not 0 <= decay < 1:
        raise UserError(f"optim.ema_decay {decay} must be at least 0 and below 1; 0 keeps no average")


def update_ema(ema, variables, step: jax.Array, decay: float):
    """The average after `step` steps (1 at the first), of which `variables` are what the last one left."""
    share = -(1 - decay) / jnp.expm1(step * jnp.log(jnp.float32(decay)))
    share = jnp.where(step == 1, 1.0, share)  # exactly: nothing of what was there before the first step
    return jax.tree.map(lambda new, old: new.astype(old.dtype), optax.incremental_update(variables, ema, share), ema)
