"""The moving average of the weights (Polyak and Juditsky 1992), which is scored in place of the weights: `optim.ema_decay`.

Let w_s be the weights after step s, and d the decay. The average after t steps is

    ema_t = Σ_s d^(t−s) w_s / Σ_s d^(t−s),   s = 1 .. t
          = ema_{t−1} + a_t (w_t − ema_{t−1}),   a_t = (1 − d) / (1 − d^t).

The initial weights do not count, so the average is useful from the first steps on. The running statistics of BatchNorm are
averaged in the same way. They are means over batches already, and to first order they are the statistics of the averaged
weights.

`optax.ema` is not used for two reasons. It keeps Σ (1 − d) d^(t−s) w_s, which is not a network that can be saved and scored. And
it divides by 1 − d^t in float32: at d = 0.999 a weight of 1 is off by 5e-5, a hundred times more than here.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

# A pytree of arrays.
Tree = TypeVar("Tree")


def update_ema(ema: Tree, variables: Tree, step: jax.Array, decay: float) -> Tree:
    """Returns the average after one more step.

    At d = 1/2 the later of two weights counts twice as much, so 3 and then 6 give (3 + 2 · 6) / 3:

    >>> average = 0.0
    >>> for step, weight in ((1, 3.0), (2, 6.0)):
    ...     average = update_ema(jnp.float32(average), jnp.float32(weight), jnp.int32(step), decay=0.5)
    >>> round(float(average), 4)
    5.0

    Args:
      ema: the average before the step, a pytree. Its values do not matter at the first step.
      variables: the variables after the step, a pytree like `ema`.
      step: int32 scalar, the number of steps done, 1 after the first.
      decay: d, above 0 and below 1.
    """
    share = -(1 - decay) / jnp.expm1(step * jnp.log(jnp.float32(decay)))
    # Exactly 1 at the first step, so that the previous value does not count.
    share = jnp.where(step == 1, 1.0, share)
    return jax.tree.map(lambda new, old: new.astype(old.dtype), optax.incremental_update(variables, ema, share), ema)
