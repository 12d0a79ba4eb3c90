"""Defines one check of the certificate, and draws random weights and images for the networks to check."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the certificate: a claim about a network, compared with its source.

    Attributes:
      network: the network's name, such as "U-Net paper".
      claim: what is checked.
      expected: the value by the source.
      found: the value of the network here.
      passed: True if the two agree.
      source: the paper or code that the expected value comes from.
    """

    network: str
    claim: str
    expected: str
    found: str
    passed: bool
    source: str


def shapes(module: nn.Module, channels: int, size: int) -> dict[str, Any]:
    """Returns the shapes of the variables for images `[1, size, size, channels]`, without computing anything."""
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image)


def random_variables(module: nn.Module, channels: int, size: int, seed: int = 0) -> dict[str, Any]:
    """Draws variables like those of a trained network, float32.

    No bias, scale, mean or variance is 0 or 1. Kernels are He normal, so that activations keep their size.

    Args:
      module: the network.
      channels: channels of the image.
      size: height and width of the image, in pixels.
      seed: seed of the draws.

    Returns:
      The variables of `module` as NumPy arrays.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 8
        return (rng.normal(size=leaf.shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes(module, channels, size))


def random_images(size: int, channels: int, seed: int = 1, number: int = 1) -> np.ndarray:
    """Draws images float32 `[number, size, size, channels]` of standard normal pixels."""
    return np.random.default_rng(seed).normal(size=(number, size, size, channels)).astype(np.float32)
