"""Checks sizes in pixels: the maps in the papers' figures, and the image sizes that a network takes or refuses."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax import models
from unet_jax.analysis.certify.check import Check
from unet_jax.errors import UserError

FIGURE_1 = (568, 280, 136, 64, 28, 52, 100, 196, 388)
SAME = (96, 48, 24, 12, 6)
VGG = ("conv_1_2", "conv_2_2", "conv_3_3", "conv_4_3", "conv_5_3", "fc_6", "score_fr", "score_pool4", "score_pool3")
TIRAMISU = (224, 112, 56, 28, 14, 7, 14, 28, 56, 112, 224)


def maps(module: nn.Module, size: int) -> dict[str, int]:
    """Returns the height of each submodule's output, and of the last head's `logits`, for an image `[1, size, size, 1]`."""
    heights: dict[str, int] = {}

    def watch(next_function, args, kwargs, context):
        output = next_function(*args, **kwargs)
        if len(context.module.path) == 1 and context.method_name == "__call__":
            heights[context.module.path[0]] = output.shape[1]
        return output

    with nn.intercept_methods(watch):
        image = jax.ShapeDtypeStruct((1, size, size, 1), jnp.float32)
        logits, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), image)
    return heights | {"logits": logits[-1].shape[1]}


def checks() -> Iterator[Check]:
    """Yields the checks of every network, with few channels, as sizes do not depend on the widths."""
    yield from _grids()
    yield from _fcn()
    yield from _fc_densenet()


def _grids() -> Iterator[Check]:
    thin: dict[str, Any] = {"num_classes": 2, "widths": (1,) * 5}
    for variant in ("paper", "release"):
        module = models.build("unet", variant=variant, **thin)
        label, source = f"U-Net {variant}", "Ronneberger et al. 2015, figure 1"
        heights = maps(module, 572)
        levels = [heights[f"enc_{i}"] for i in range(5)] + [heights[f"dec_{i}"] for i in (3, 2, 1, 0)]
        yield _equal(label, "572 pixels, level by level", FIGURE_1, tuple(levels), source)
        yield _equal(label, "the smallest image, and its logits", (188, 4), _smallest(module), "arithmetic of figure 1")
        claim = "sizes up to 700 that it takes"
        yield _equal(label, claim, _legal(700), _taken(module, 700), "every pool sees an even size")
    for name in ("unet", "unet_pp"):
        module = models.build(name, **thin)
        heights = maps(module, 96)
        nodes = [f"enc_{i}" if name == "unet" else f"x_{i}_0" for i in range(5)]
        label = {"unet": "U-Net same", "unet_pp": "U-Net++"}[name]
        source = "Zhou et al. 2018, section 3.1: 96 x 96"
        yield _equal(label, "96 pixels, level by level", SAME, tuple(heights[node] for node in nodes), source)
        heights = maps(module, 97)
        odd = heights[nodes[0]], heights["logits"]
        yield _equal(label, "97 pixels: inside, and logits", (112, 97), odd, "padded to a multiple of 16, and cropped")


def _fcn() -> Iterator[Check]:
    nets = {s: models.build("fcn", num_classes=2, widths=(1,) * 6, stride=s) for s in (32, 16, 8)}
    heights = maps(nets[8], 500)
    source = "Long et al.'s code, layer by layer: pad 100, pools that round up, crops"
    claim = "500 pixels, blocks, fc6, scores that are added"
    yield _equal("FCN-8s", claim, _vgg(500), tuple(heights[name] for name in VGG), source)
    for stride, module in nets.items():
        sizes = 1, 97, 500
        logits = tuple(maps(module, size)["logits"] for size in sizes)
        yield _equal(f"FCN-{stride}s", "logits of 1, 97 and 500 pixels", sizes, logits, source)


def _vgg(size: int) -> tuple[int, ...]:
    """Computes the sizes of FCN's maps, layer by layer.

    The image gets 100 zeros on each side, and the first convolution, which is not padded, removes 2 pixels. A pool gives
    ceil(n / 2), fc6 removes 6, U_2 makes 2 (n + 1) pixels of n. The scores of a pool are cropped to that size.
    """
    heights, height = [], size + 200 - 2
    for _ in range(5):
        heights.append(height)
        height = math.ceil(height / 2)
    scores = [height - 6]
    for _ in range(2):
        scores.append(2 * (scores[-1] + 1))
    return (*heights, scores[0], *scores)


def _fc_densenet() -> Iterator[Check]:
    module = models.build("fc_densenet", num_classes=2, variant="56")
    heights = maps(module, 224)
    blocks = [*(f"down_{i}" for i in range(5)), "bottleneck", *(f"up_{i}" for i in reversed(range(5)))]
    # All layers of a block are concatenated, so they have one size.
    sizes = tuple(heights[f"{block}_0"] for block in blocks)
    source = "Jegou et al. 2017, tables 1 and 2, section 4.1: 224 x 224"
    yield _equal("FC-DenseNet56", "224 pixels, block by block", TIRAMISU, sizes, source)
    heights = maps(module, 225)
    odd = heights["first"], heights["logits"]
    claim = "225 pixels: inside, and logits"
    yield _equal("FC-DenseNet56", claim, (256, 225), odd, "padded to a multiple of 32, and cropped")


def _equal(network, claim, expected, value, source) -> Check:
    def text(value):
        if not isinstance(value, tuple):
            return str(value)
        return " ".join(map(str, value)) if len(value) < 12 else f"{len(value)}: {value[0]} .. {value[-1]}"

    return Check(network, claim, text(expected), text(value), expected == value, source)


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
    """Computes the legal sizes up to `limit` by following the network down and up.

    Two convolutions remove 4 pixels, a pool halves an even size, U doubles a size.
    """

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
