"""The pixels of the logits, and the pixels of the image that they depend on: pruning, odd sizes, valid padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_nets import GRIDS, WIDTHS, full, images, random_variables, shapes

from unet_jax.models import build
from unet_jax.runtime.unoptimized_jit import jit_without_optimization


@pytest.mark.parametrize(("padding", "norm"), [("same", "none"), ("same", "batch"), ("valid", "none")])
def test_a_level_is_that_head_of_the_whole(padding, norm):
    """Names are a subset, sizes are the whole's, and logits are equal bit for bit, at an odd size too."""
    whole = full("unet_pp", norm=norm, padding=padding)
    image = images(2, whole.input_size(21), whole.input_size(11), 1)
    variables = random_variables(whole, image)
    heads = jax.jit(whole.apply)(variables, image)
    for level in (1, 2, 3):
        part = build("unet_pp", num_classes=2, widths=WIDTHS, norm=norm, padding=padding, level=level)
        nodes = {f"x_{i}_{j}" for i in range(level + 1) for j in range(level + 1 - i)}
        ups = {node.replace("x", "up") for node in nodes if not node.endswith("_0")}
        needed = jax.eval_shape(part.init, jax.random.key(0), image)
        assert set(needed["params"]) == nodes | ups | {f"head_{level}"}
        subset = {kind: {name: tree[name] for name in needed[kind]} for kind, tree in variables.items()}
        (logits,) = jax.jit(part.apply)(subset, image)
        np.testing.assert_array_equal(logits, heads[level - 1])
    supervised = build("unet_pp", num_classes=2, widths=WIDTHS, level=2, deep_supervision=True)
    assert {name for name in shapes(supervised)["params"] if name.startswith("head")} == {"head_1", "head_2"}


@pytest.mark.parametrize(
    "options",
    [
        {"upsample": "bilinear", "norm": "group", "dtype": "bfloat16"},
        {"upsample": "nearest", "norm": "instance", "dropout": 0.5},
        {"norm": "batch", "activation": "sigmoid"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
@pytest.mark.parametrize("name", GRIDS)
def test_any_size_comes_back(name, options):
    module, image = full(name, **options), images(2, 37, 53, 3)
    initial = jax.eval_shape(module.init, jax.random.key(0), image)
    assert {leaf.dtype for leaf in jax.tree.leaves(initial)} == {jnp.dtype(jnp.float32)}
    variables = random_variables(module, image)
    heads = jit_without_optimization(module.apply)(variables, image)
    assert len(heads) == (1 if name == "unet" else 3)
    for logits in heads:
        assert logits.shape == (2, 37, 53, 2)
        assert logits.dtype == jnp.float32
        assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", GRIDS)
def test_an_odd_size_is_the_edge_repeated_at_the_end(name):
    module = full(name)
    image = images(1, 13, 7, 1)
    variables = random_variables(module, image)
    wide = jnp.pad(image, ((0, 0), (0, 3), (0, 1), (0, 0)), mode="edge")
    apply = jit_without_optimization(module.apply)
    for a, b in zip(apply(variables, image), apply(variables, wide), strict=True):
        np.testing.assert_allclose(a, b[:, :13, :7], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", GRIDS)
def test_a_valid_pixel_sees_no_border(name):
    """The logits of a window are those of the whole image at that place, so tiles give the same result."""
    module = full(name, padding="valid", upsample="nearest")
    height, width = module.input_size(21), module.input_size(13)
    image = images(1, height, width, 1)
    variables = random_variables(module, image)
    apply = jit_without_optimization(module.apply)
    for whole, window in zip(apply(variables, image), apply(variables, image[:, 8:-8, 8:]), strict=True):
        np.testing.assert_allclose(window, whole[:, 8:-8, 8:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", GRIDS)
def test_valid_logits_are_a_same_nets_far_from_the_border(name):
    """Every head, pixel for pixel: a skip or a head that is cropped one pixel too far fails.

    The valid net reads the image from pixel 2 on, so that both nets pool the same pairs at every level: a node's map that
    starts at pixel 4 starts at pixel 2 after the pool, and the next node removes 2 more, so it starts at 4 again.
    """
    valid, same = (full(name, padding=padding) for padding in ("valid", "same"))
    height, width = valid.input_size(10), valid.input_size(20)
    image = images(1, height + 4, width + 4, 1)
    variables = random_variables(same, image)
    part = jit_without_optimization(valid.apply)(variables, image[:, 2:-2, 2:-2])
    cut = 2 + valid.margin // 2
    for a, b in zip(part, jit_without_optimization(same.apply)(variables, image), strict=True):
        assert a.shape == (1, valid.output_size(height), valid.output_size(width), 2)
        np.testing.assert_allclose(a, b[:, cut:-cut, cut:-cut], rtol=1e-4, atol=1e-4)
