"""Lowers the learning rate when the score on val has stopped rising (`optim.schedule="plateau"`).

The rule is optax's `reduce_on_plateau`; it gets the score of each evaluation. Its state is a part of the run's state
(`TrainState.plateau`) and so of each checkpoint. A resumed run therefore lowers the rate at the same steps as a run that was
never stopped.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from unet_jax.checks import check_all
from unet_jax.training.optim.options import OF_THE_PLATEAU

State = TypeVar("State")


def create_plateau_rule(*, lr_drop_factor: float, patience: int, gain: float) -> optax.GradientTransformationExtraArgs:
    """Builds the rule.

    Args:
      lr_drop_factor: the factor that the rate is multiplied by when it falls.
      patience: the rate falls after this many evaluations in a row without a gain.
      gain: the smallest rise over the best score that counts as a gain.

    Raises:
      UserError: `patience` is not a whole number of at least 1, or `gain` is not between 0 and 1.
    """
    check_all(OF_THE_PLATEAU, {"plateau_patience": patience, "plateau_gain": gain}, "optim.")
    return optax.contrib.reduce_on_plateau(lr_drop_factor, patience, rtol=0.0, atol=gain)


def observe_score(rule: optax.GradientTransformationExtraArgs, state: State, score: float) -> State:
    """Returns the rule's state after one more evaluation.

    With a patience of 1, the second evaluation without a rise halves the rate:

    >>> rule = create_plateau_rule(lr_drop_factor=0.5, patience=1, gain=0.01)
    >>> state, factors = rule.init({}), []
    >>> for score in (0.6, 0.8, 0.8):
    ...     state = observe_score(rule, state, score)
    ...     factors.append(float(state.scale))
    >>> factors
    [1.0, 1.0, 0.5]

    Args:
      rule: what `create_plateau_rule` returned.
      state: the state of the rule before the evaluation.
      score: the score of the evaluation; higher is better, NaN is no gain.
    """
    # optax's rule lowers the rate if a loss does not fall, so the score is turned into a loss.
    lost = jnp.nan_to_num(jnp.float32(1 - score), nan=jnp.inf)
    _, state = rule.update({}, state, value=lost)
    return jax.tree.map(jnp.asarray, state)
