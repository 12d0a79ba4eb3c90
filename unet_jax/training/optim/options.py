"""The options of the optimiser and their allowed values, by the names of their keys in `config.optim`.

This file imports no JAX, so that a wrong value is reported before JAX is loaded.
"""

from collections.abc import Sequence
from typing import Any

from unet_jax.checks import LAST_STEP, choice, number, shown, whole
from unet_jax.errors import UserError

# The largest rate, factor and decay. A larger one ends every training with NaN.
MOST = 1e6
OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "lion")
SCHEDULES = ("cosine", "poly", "one_cycle", "step", "constant", "plateau")
# These schedules do not depend on the run's length, so a finished run can be made longer.
LENGTHLESS = ("step", "constant", "plateau")

OF_THE_OPTIMIZER = {
    "name": choice(OPTIMIZERS),
    "weight_decay": number(least=0, most=MOST, why="0 switches it off"),
    "grad_clip": number(least=0, why="0 switches it off"),
    "b1": number(least=0, below=1),
    "b2": number(least=0, below=1),
    "momentum": number(least=0, below=1),
    "rmsprop_decay": number(least=0, below=1),
    "eps": number(above=0, why="it keeps a step from a division by 0"),
}
OF_THE_SCHEDULE = {
    "schedule": choice(SCHEDULES),
    "learning_rate": number(above=0, most=MOST),
    "power": number(above=0, most=100),
    "lr_drop_factor": number(above=0, below=1, why="the rate is multiplied by it"),
}
OF_THE_PLATEAU = {
    "plateau_patience": whole(1, LAST_STEP, why="it counts evaluations"),
    "plateau_gain": number(above=0, below=1, why="it is a difference of IoU"),
}
OF_THE_AVERAGE = {"ema_decay": number(least=0, below=1, why="0 keeps no average")}
DOMAINS = {**OF_THE_OPTIMIZER, **OF_THE_SCHEDULE, **OF_THE_PLATEAU, **OF_THE_AVERAGE}
FACTOR = number(above=0, most=MOST, why="to leave parameters as they are, name them in optim.freeze")


def check_patterns(freeze: Sequence[str]) -> tuple[str, ...]:
    """Returns the patterns of parameters' names as a tuple.

    Raises:
      UserError: `freeze` is not a sequence of strings, or one of them is empty.
    """
    strings = isinstance(freeze, Sequence) and all(isinstance(pattern, str) and pattern for pattern in freeze)
    if isinstance(freeze, str) or not strings:
        raise UserError(f"optim.freeze {shown(freeze)}: give patterns of parameters' names, such as ('encoder/*',)")
    return tuple(freeze)


def check_multipliers(lr_multipliers: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """Returns the pairs of a pattern and a factor as a tuple of tuples.

    Raises:
      UserError: one is not a pair of a pattern and a number above 0.
    """
    # The type says what is right; a config may hold anything.
    pairs: Any = lr_multipliers if isinstance(lr_multipliers, tuple | list) else [lr_multipliers]
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise UserError(
                f"optim.lr_multipliers {shown(lr_multipliers)}: give pairs of a pattern and a factor, such as "
                "(('encoder/*', 0.1),)"
            )
        FACTOR.check(f"optim.lr_multipliers {shown(pair[0])}, factor", pair[1])
    return tuple((pattern, float(factor)) for pattern, factor in pairs)
