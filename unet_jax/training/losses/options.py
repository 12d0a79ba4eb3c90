"""The weights of losses, classes and heads, and their allowed values.

This file imports no JAX, so that a wrong value is reported before JAX is loaded.
"""

from collections.abc import Mapping, Sequence

from unet_jax.checks import mapping_of, number, sequence_of
from unet_jax.errors import UserError

# A weight of a loss, a class or a head, and the number that is an option of a loss. Sums over all pixels stay finite in float32.
MOST = 1e6
WEIGHT = number(least=0, most=MOST)
WEIGHTS = sequence_of(WEIGHT)
# The options of each loss by its name; the losses check their names and values.
OPTIONS = mapping_of(mapping_of(number()))


def check_weights(
    weights: Mapping[str, float], class_weights: Sequence[float] = (), head_weights: Sequence[float] = ()
) -> None:
    """Checks the weights of losses, classes and heads.

    Args:
      weights: as for `registry.create_loss`.
      class_weights: as for `registry.create_loss`.
      head_weights: as for `registry.create_loss`.

    Raises:
      UserError: a weight is negative or not finite, or none of a group is above 0.
    """
    mapping_of().check("loss.weights", weights)
    for name, weight in weights.items():
        WEIGHT.check(f"loss.weights.{name}", weight)
    if not any(weights.values()):
        raise UserError(f"loss.weights {dict(weights)}: give at least one loss a weight above 0")
    for key, values in (("class_weights", class_weights), ("head_weights", head_weights)):
        WEIGHTS.check(f"loss.{key}", values)
        if len(values) and not any(values):
            raise UserError(f"loss.{key} {tuple(values)}: give at least one weight above 0")
