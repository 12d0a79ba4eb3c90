"""One line of the certificate, and networks with weights to check."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class Check:
    """A claim about a network: what its source says, what was found, and whether the two agree."""

    network: str
    claim: str
    expected: str
    found: str
    passed: bool
    source: str


def shapes(module: nn.Module, channels: int, size: int) -> dict:
    """The variables' shapes for images `[1, size, size, channels]`; nothing is computed, however large the network."""
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image)


def random_variables(module: nn.Module, channels: int, size: int, seed: int = 0) -> dict[str, Any]:
    """Variables as if trained: no bias, scale, mean or variance is 0 or 1; kernels keep the activations' size."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 8
        return (rng.normal(size=leaf.shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes(module, channels, size))


def random_images(size: int, channels: int, seed: int = 1, number: int = 1) -> np.ndarray:
    """Images `[number, size, size, channels]` of standard normal pixels."""
    return np.random.default_rng(seed).normal(size=(number, size, size, channels)).astype(np.float32)
