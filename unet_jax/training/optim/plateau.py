"""`optim.schedule="plateau"`: the rate falls when the score on val has stopped rising.

The rule is optax's (`optax.contrib.reduce_on_plateau`), told at each evaluation. Its state is a part of the run's
(`TrainState.plateau`) and so of each checkpoint: a resumed run lowers the rate when one never stopped would.
"""

import jax
import jax.numpy as jnp
import optax

from unet_jax.errors import UserError


def create_plateau_rule(*, factor: float, patience: int, gain: float) -> optax.GradientTransformationExtraArgs:
    """The rule: times `factor` at each `patience` evaluations, in a row, without a score more than `gain` above the best.

    Raises:
      UserError: patience is not a whole number from 1, or gain not above 0.
    """
    if not isinstance(patience, int) or patience < 1:
        raise UserError(f"optim.plateau_patience {patience} must be a whole number of evaluations, 1 at least")
    if not 0 < gain < 1:
        raise UserError(f"optim.plateau_gain {gain} must be above 0 and below 1: it is a difference of IoU")
    return optax.contrib.reduce_on_plateau(factor, patience, rtol=0.0, atol=gain)


def observe_score(rule: optax.GradientTransformationExtraArgs, state, score: float):
    """The rule's state after one more evaluation; NaN is no gain. More is better here, less in optax's rule."""
    lost = jnp.nan_to_num(jnp.float32(1 - score), nan=jnp.inf)
    _, state = rule.update({}, state, value=lost)
    return jax.tree.map(jnp.asarray, state)
