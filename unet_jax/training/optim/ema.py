"""The moving average of the weights (Polyak and Juditsky 1992), for use in their place: `optim.ema_decay`.

With the weights w_s after step s and the decay d, after t steps

    ema_t = Σ_s d^(t−s) w_s / Σ_s d^(t−s),   s = 1 .. t
          = ema_{t−1} + a_t (w_t − ema_{t−1}),   a_t = (1 − d) / (1 − d^t):

the weights at the initialisation have no share, so the average is of use from the first steps on. The running statistics
of BatchNorm are averaged in the same way: they are means over batches already, and those of the averaged weights to first
order.

`optax.ema` is not used: it keeps Σ (1 − d) d^(t−s) w_s, which is no network to save and to score, and divides by 1 − d^t in
float32: at d = 0.999 that is off by 5e-5 of a weight of 1, a hundred times more than here.
"""

import jax
import jax.numpy as jnp
import optax


def update_ema(ema, variables, step: jax.Array, decay: float):
    """Returns the average after one more step.

    With d = 1/2 the weights 3 and then 6 count as 1 to 2:

    >>> average = 0.0
    >>> for step, weight in ((1, 3.0), (2, 6.0)):
    ...     average = update_ema(jnp.float32(average), jnp.float32(weight), jnp.int32(step), decay=0.5)
    >>> round(float(average), 4)
    5.0

    Args:
      ema: the average before the step, a pytree; of no account at the first step.
      variables: what the step left, a pytree like `ema`.
      step: int32 scalar, the number of steps done, 1 after the first.
      decay: d, above 0 and below 1.
    """
    share = -(1 - decay) / jnp.expm1(step * jnp.log(jnp.float32(decay)))
    # Exactly 1 at the first step: nothing of what was there before it is left.
    share = jnp.where(step == 1, 1.0, share)
    return jax.tree.map(lambda new, old: new.astype(old.dtype), optax.incremental_update(variables, ema, share), ema)
