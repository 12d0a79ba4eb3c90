"""Small networks of each kind, their random variables, and the graphs of the papers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.models import build

# Small, and all different, so that a mistaken level is noticed.
WIDTHS = (3, 5, 6, 7)
# The networks that are grids of nodes.
GRIDS = ["unet", "unet_pp"]
# The options of a small network of each kind whose default one is large.
OPTIONS = {
    "unet": {"widths": WIDTHS},
    "unet_pp": {"widths": WIDTHS, "deep_supervision": True},
    "fcn": {"widths": (2, 3, 4, 5, 6, 7), "dropout": 0.0},
    "fc_densenet": {
        "variant": "",
        "stem_features": 4,
        "growth_rate": 3,
        "layers_per_block": (1, 2, 3, 1, 2),
        "dropout": 0.0,
    },
}


def images(*shape, key=1):
    """Returns noise; it is drawn by NumPy, as JAX would compile a program for each shape."""
    return jnp.asarray(np.random.default_rng(key).normal(size=shape), jnp.float32)


def shapes(module, channels=1, size=32):
    return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32))


def random_variables(module, image):
    """Draws variables like those after training, none of them 0 or 1; does not compile the module's initialisation."""
    generator = np.random.default_rng(0)

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 8
        return jnp.asarray(
            np.abs(generator.normal(size=leaf.shape))
            if leaf.ndim == 1
            else generator.normal(size=leaf.shape) * np.sqrt(2 / fan_in),
            jnp.float32,
        )

    return jax.tree.map(draw, jax.eval_shape(module.init, jax.random.key(0), image))


def full(name, **options):
    return build(name, **{"num_classes": 2, **OPTIONS.get(name, {}), **options})


def graph(name):
    """Returns the names of what each submodule of a grid reads, written from the papers' equations."""
    depth = len(WIDTHS) - 1
    if name == "unet":
        edges = {"enc_0": ["image"]} | {f"enc_{i}": [f"pool enc_{i - 1}"] for i in range(1, depth + 1)}
        for i in range(depth):
            edges |= {f"up_{i}": [f"enc_{depth}" if i == depth - 1 else f"dec_{i + 1}"]}
            edges |= {f"dec_{i}": [f"up_{i}", f"enc_{i}"]}
        return edges | {"head": ["dec_0"]}
    edges = {"x_0_0": ["image"]} | {f"x_{i}_0": [f"pool x_{i - 1}_0"] for i in range(1, depth + 1)}
    for i, j in itertools.product(range(depth), range(1, depth + 1)):
        if i + j <= depth:
            edges |= {f"up_{i}_{j}": [f"x_{i + 1}_{j - 1}"]}
            edges |= {f"x_{i}_{j}": [f"up_{i}_{j}", *(f"x_{i}_{k}" for k in range(j))]}
    return edges | {f"head_{j}": [f"x_0_{j}"] for j in range(1, depth + 1)}
