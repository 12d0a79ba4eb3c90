"""Sizes of maps in pixels: those of the papers' figures, and every size a network takes or refuses."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax import models
from unet_jax.analysis.certify.check import Check
from unet_jax.errors import UserError

FIGURE_1 = (568, 280, 136, 64, 28, 52, 100, 196, 388)
SAME = (96, 48, 24, 12, 6)


def maps(module: nn.Module, size: int) -> dict[str, int]:
    """The height of what each submodule gives for an image of `size` x `size`."""
    heights = {}

    def watch(next_function, args, kwargs, context):
        output = next_function(*args, **kwargs)
        if len(context.module.path) == 1 and context.method_name == "__call__":
            heights[context.module.path[0]] = output.shape[1]
        return output

    with nn.intercept_methods(watch):
        image = jax.ShapeDtypeStruct((1, size, size, 1), jnp.float32)
        jax.eval_shape(module.init, jax.random.key(0), image)
    return heights


def checks() -> Iterator[Check]:
    """Thin networks: a size does not depend on the widths."""
    thin = {"num_classes": 2, "widths": (1,) * 5}
    for variant in ("paper", "release"):
        module = models.build("unet", variant=variant, **thin)
        label, source = f"U-Net {variant}", "Ronneberger et al. 2015, figure 1"
        heights = maps(module, 572)
        found = [heights[f"enc_{i}"] for i in range(5)] + [heights[f"dec_{i}"] for i in (3, 2, 1, 0)]
        yield _equal(label, "572 pixels, level by level", FIGURE_1, tuple(found), source)
        yield _equal(label, "the smallest image, and its logits", (188, 4), _smallest(module), "arithmetic of figure 1")
        yield _equal(
            label, "sizes up to 700 that it takes", _legal(700), _taken(module, 700), "every pool sees an even size"
        )
    for name in ("unet", "unet_pp"):
        module = models.build(name, **thin)
        heights = maps(module, 96)
        nodes = [f"enc_{i}" if name == "unet" else f"x_{i}_0" for i in range(5)]
        found = tuple(heights[node] for node in nodes)
        label = {"unet": "U-Net same", "unet_pp": "U-Net++"}[name]
        yield _equal(label, "96 pixels, level by level", SAME, found, "Zhou et al. 2018, section 3.1: 96 x 96")
        heights = maps(module, 97)
        odd = heights[nodes[0]], heights["head" if name == "unet" else "head_4"]
        yield _equal(label, "97 pixels: inside, and logits", (112, 97), odd, "up to a multiple of 16, and cropped")


def _equal(network, claim, expected, found, source) -> Check:
    def text(value):
        if not isinstance(value, tuple):
            return str(value)
        return " ".join(map(str, value)) if len(value) < 10 else f"{len(value)}: {value[0]} .. {value[-1]}"

    return Check(network, claim, text(expected), text(found), expected == found, source)


def _smallest(module) -> tuple[int, int]:
    size = module.input_size(1)
    return size, module.output_size(size)


def _taken(module, limit: int) -> tuple[int, ...]:
    taken = []
    for size in range(1, limit + 1):
        try:
            module.output_size(size)
        except UserError:
            continue
        taken.append(size)
    return tuple(taken)


def _legal(limit: int) -> tuple[int, ...]:
    """By walking down and up: two convolutions take 4 pixels off, a pool halves an even size, U doubles."""

    def fits(size: int) -> bool:
        for _ in range(4):
            size -= 4
            if size <= 0 or size % 2:
                return False
            size //= 2
        size -= 4
        for _ in range(4):
            size = 2 * size - 4
        return size > 0

    return tuple(size for size in range(1, limit + 1) if fits(size))
