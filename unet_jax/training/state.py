"""The state of a run: plain arrays, and nothing random among them."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from unet_jax.models.encoders import weights


class TrainState(flax.struct.PyTreeNode):
    """All that one step hands to the next.

    Attributes:
      step: int32 scalar, steps done.
      params: the network's parameters.
      batch_stats: running statistics of BatchNorm; empty without one.
      opt_state: of the optax chain.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict:
        """What `module.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    module: nn.Module,
    tx: optax.GradientTransformation,
    *,
    seed: int,
    patch,
    channels: int,
    encoder_weights: str = "",
) -> TrainState:
    """The state at step 0: a pure function of `seed`, of the network, of the file of weights and of nothing else.

    Args:
      module: the network.
      tx: the optimiser.
      seed: of the initialisation.
      patch: (height, width) of a training window, in pixels.
      channels: of the images.
      encoder_weights: a file of `models/encoders/weights.py` that the network's encoder starts from; prints what was loaded.

    Raises:
      UserError: the file is not one of this encoder's, or the images have neither its channels nor one.
    """
    images = jnp.zeros((1, *patch, channels), jnp.float32)
    variables = jax.jit(module.init)(jax.random.key(seed), images)
    if encoder_weights:
        variables, said = weights.load(variables, encoder_weights, module.encoder)
        print(said)
    params = variables["params"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=jax.jit(tx.init)(params),
    )


def count_parameters(params) -> int:
    """Number of trainable scalars."""
    return sum(x.size for x in jax.tree.leaves(params))
