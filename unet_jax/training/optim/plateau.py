"""`optim.schedule="plateau"`: the rate falls when the score on val has stopped rising.

The rule is optax's (`optax.contrib.reduce_on_plateau`); it is given the score of each evaluation. Its state is a part of the
run's (`TrainState.plateau`) and so of each checkpoint: a resumed run lowers the rate when one never stopped would.
"""

import jax
import jax.numpy as jnp
import optax

from unet_jax.checks import check_all
from unet_jax.training.optim.options import OF_THE_PLATEAU


def create_plateau_rule(*, lr_drop_factor: float, patience: int, gain: float) -> optax.GradientTransformationExtraArgs:
    """Builds the rule.

    Args:
      lr_drop_factor: what the rate is multiplied by at each fall.
      patience: evaluations in a row without a gain, after which the rate falls.
      gain: the least rise of the score over the best one that counts.

    Raises:
      UserError: patience is not a whole number from 1, or gain not between 0 and 1.
    """
    check_all(OF_THE_PLATEAU, {"plateau_patience": patience, "plateau_gain": gain}, "optim.")
    return optax.contrib.reduce_on_plateau(lr_drop_factor, patience, rtol=0.0, atol=gain)


def observe_score(rule: optax.GradientTransformationExtraArgs, state, score: float):
    """Returns the rule's state after one more evaluation.

    Args:
      rule: of `create_plateau_rule`.
      state: the rule's, before.
      score: of the evaluation, more is better; NaN is no gain.
    """
    # optax's rule lowers the rate where a loss does not fall.
    lost = jnp.nan_to_num(jnp.float32(1 - score), nan=jnp.inf)
    _, state = rule.update({}, state, value=lost)
    return jax.tree.map(jnp.asarray, state)
