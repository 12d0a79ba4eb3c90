"""The state of a run: plain arrays, none of them random."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from unet_jax.models.encoders.weights import load_encoder_weights
from unet_jax.runtime.unoptimized_jit import jit_without_optimization


class TrainState(flax.struct.PyTreeNode):
    """All that one step passes to the next.

    Attributes:
      step: int32 scalar, steps done.
      params: the network's parameters.
      batch_stats: running statistics of BatchNorm; empty without one.
      opt_state: of the optax chain.
      ema: the moving average of `variables` (`ema.py`), or None where the run keeps none.
      plateau: the state of the rule of the schedule "plateau" (`plateau.py`), or None with any other schedule.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any = None
    plateau: Any = None

    @property
    def variables(self) -> dict:
        """The arguments of `module.apply`: parameters and running statistics."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def variables_to_score(self, weights: str) -> dict[str, dict]:
        """Returns the variables to score on val, by the name of their rows in metrics.jsonl.

        Args:
          weights: "raw" or "ema", whose score counts: its rows are "val", those of the other "val_raw" or "val_ema".
        """
        if self.ema is None:
            return {"val": self.variables}
        kinds = {"raw": self.variables, "ema": self.ema}
        return {"val": kinds.pop(weights), **{f"val_{kind}": variables for kind, variables in kinds.items()}}

    def start_with(self, tx: optax.GradientTransformation, params, batch_stats) -> "TrainState":
        """Returns this state of step 0 with other weights: the optimiser, and an average if there is one, begin with them."""
        state = self.replace(
            params=params, batch_stats=batch_stats, opt_state=jit_without_optimization(tx.init)(params)
        )
        return state if self.ema is None else state.replace(ema=state.variables)


def create_state(
    module: nn.Module,
    tx: optax.GradientTransformation,
    *,
    seed: int,
    patch,
    channels: int,
    encoder_weights: str = "",
    ema: bool = False,
    plateau: optax.GradientTransformation | None = None,
) -> TrainState:
    """Builds the state at step 0: a pure function of its arguments.

    Args:
      module: the network.
      tx: the optimiser.
      seed: of the initialisation.
      patch: (height, width) of a training window, in pixels.
      channels: of the images.
      encoder_weights: a file of `models/encoders/weights.py` that the network's encoder starts from; prints what was loaded.
      ema: whether to keep a moving average of the weights.
      plateau: the rule of the schedule "plateau", if that is the schedule.

    Raises:
      UserError: the file is not one of this encoder's, or the images have neither its channels nor one.
    """
    images = jnp.zeros((1, *patch, channels), jnp.float32)
    variables = jit_without_optimization(module.init)(jax.random.key(seed), images)
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


def count_parameters(tree) -> int:
    """Returns the number of scalars in a tree of arrays, or of their shapes, for which `optax.tree.size` warns."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
