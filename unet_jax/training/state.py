"""The state of a run: arrays only, and no random state."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from unet_jax.models.encoders.weights import load_encoder_weights
from unet_jax.runtime.unoptimized_jit import jit_without_optimization


class TrainState(flax.struct.PyTreeNode):
    """Everything that one step passes to the next.

    Attributes:
      step: int32 scalar, the number of steps done.
      params: the network's parameters.
      batch_stats: the running statistics of BatchNorm; empty if the network has none.
      opt_state: the state of the optimiser.
      ema: the moving average of `variables` (`ema.py`), or None if the run keeps none.
      plateau: the state of the schedule "plateau" (`plateau.py`), or None with another schedule.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any = None
    plateau: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """Parameters and running statistics, as `module.apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def variables_to_score(self, weights: str) -> dict[str, dict[str, Any]]:
        """Returns the variables to score on val, by the name of their rows in metrics.jsonl.

        Args:
          weights: "raw" or "ema": the variables whose score counts. Their rows are named "val"; the rows of the others are
            named "val_raw" or "val_ema".
        """
        if self.ema is None:
            return {"val": self.variables}
        kinds = {"raw": self.variables, "ema": self.ema}
        return {"val": kinds.pop(weights), **{f"val_{kind}": variables for kind, variables in kinds.items()}}

    def start_with(self, tx: optax.GradientTransformation, params: Any, batch_stats: Any) -> "TrainState":
        """Returns this state, which must be that of step 0, with other weights.

        Args:
          tx: the optimiser; its state starts from the new weights, and so does the moving average if there is one.
          params: the new parameters.
          batch_stats: the new running statistics.
        """
        state = self.replace(
            params=params, batch_stats=batch_stats, opt_state=jit_without_optimization(tx.init)(params)
        )
        return state if self.ema is None else state.replace(ema=state.variables)


def create_state(
    module: nn.Module,
    tx: optax.GradientTransformation,
    *,
    seed: int,
    patch: Sequence[int],
    channels: int,
    encoder_weights: str = "",
    ema: bool = False,
    plateau: optax.GradientTransformation | None = None,
) -> TrainState:
    """Builds the state at step 0, a pure function of the arguments.

    Args:
      module: the network.
      tx: the optimiser.
      seed: the seed of the initialisation.
      patch: (height, width) of a training window, in pixels.
      channels: the number of channels of an image.
      encoder_weights: a file of weights that the encoder starts from (`models/encoders/weights.py`), or "". Prints a report of
        the weights that were loaded.
      ema: True: keep a moving average of the weights.
      plateau: the rule of the schedule "plateau", or None with another schedule.

    Raises:
      UserError: the file does not fit the encoder; or the images have neither one channel nor the number of the file.
    """
    images = jnp.zeros((1, *patch, channels), jnp.float32)
    variables: dict[str, Any] = dict(_initializer(module)(jax.random.key(seed), images))
    if encoder_weights:
        variables, report = load_encoder_weights(variables, encoder_weights, module.encoder)
        print(report)
    params = variables["params"]
    state = TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=jit_without_optimization(tx.init)(params),
        plateau=plateau.init(params) if plateau else None,
    )
    return state.replace(ema=state.variables) if ema else state


# Cached, so that equal networks of one process compile once. Bounded, because programs hold memory.
@functools.lru_cache(maxsize=8)
def _initializer(module: nn.Module) -> Callable:
    return jit_without_optimization(module.init)


def count_parameters(tree: Any) -> int:
    """Returns the number of scalars in a tree of arrays or of `jax.ShapeDtypeStruct` (for which `optax.tree.size` warns).

    >>> count_parameters({"kernel": jnp.zeros((3, 3, 1, 8)), "bias": jnp.zeros(8)})
    80
    """
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
