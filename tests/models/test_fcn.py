"""Compares FCN with the paper: the published layers written out plainly, and where its pixels lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers.small_nets import full, images, random_variables, shapes

from unet_jax.models import build
from unet_jax.models.fcn import upsample
from unet_jax.runtime.unoptimized_jit import jit_without_optimization

NHWC = ("NHWC", "HWIO", "NHWC")
TRUNK = [f"conv_{i}_{j}" for i, n in enumerate((2, 2, 3, 3, 3), 1) for j in range(1, n + 1)] + ["fc_6", "fc_7"]
SCORES = {32: ["score_fr"], 16: ["score_fr", "score_pool4"], 8: ["score_fr", "score_pool4", "score_pool3"]}


def deconvolution(x, size, stride):
    """Computes the authors' layer: for each channel, `size` x `size` weights of their framework's bilinear filler."""
    f = -(-size // 2)
    row = 1 - np.abs(np.arange(size) / f - (2 * f - 1 - f % 2) / (2 * f))
    kernel = np.repeat(np.outer(row, row)[:, :, None, None], x.shape[-1], axis=-1)
    return jax.lax.conv_general_dilated(
        *(x, jnp.asarray(kernel, x.dtype), (1, 1), [(size - 1, size - 1)] * 2),
        lhs_dilation=(stride, stride), feature_group_count=x.shape[-1], dimension_numbers=NHWC,
    )  # fmt: skip


def published(params, image, stride):
    """Returns the logits layer by layer as in the authors' files, with their paddings, kernels and crops."""

    def conv(x, name, pad):
        p = params[name]
        y = jax.lax.conv_general_dilated(x, p["kernel"], (1, 1), [(pad, pad)] * 2, dimension_numbers=NHWC)
        return y + p["bias"].reshape(1, 1, 1, -1)

    def crop(x, offset, like):
        return x[:, offset : offset + like.shape[1], offset : offset + like.shape[2]]

    x, pools = image, {}
    for name in TRUNK[:-2]:
        x = nn.relu(conv(x, name, 100 if name == "conv_1_1" else 1))
        if name in ("conv_1_2", "conv_2_2", "conv_3_3", "conv_4_3", "conv_5_3"):
            x = nn.max_pool(x, (2, 2), (2, 2), padding=[(0, size % 2) for size in x.shape[1:3]])
            pools[name[5]] = x
    x = conv(nn.relu(conv(nn.relu(conv(x, "fc_6", 0)), "fc_7", 0)), "score_fr", 0)
    if stride == 32:
        return crop(deconvolution(x, 64, 32), 19, image)
    x = deconvolution(x, 4, 2)
    x = x + crop(conv(pools["4"], "score_pool4", 0), 5, x)
    if stride == 16:
        return crop(deconvolution(x, 32, 16), 27, image)
    x = deconvolution(x, 4, 2)
    x = x + crop(conv(pools["3"], "score_pool3", 0), 9, x)
    return crop(deconvolution(x, 16, 8), 31, image)


def test_names_of_the_published_network():
    assert set(shapes(build("fcn", num_classes=21), channels=3)["params"]) == {*TRUNK, *SCORES[8]}


def test_names_of_each_stage_are_a_part_of_the_next():
    for stride, scores in SCORES.items():
        assert set(shapes(full("fcn", stride=stride))["params"]) == {*TRUNK, *scores}


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_it_is_the_published_network(stride):
    module, image = full("fcn", stride=stride), images(2, 9, 46, 3)
    variables = random_variables(module, image)
    ((ours,), theirs) = jit_without_optimization(lambda v, i: (module.apply(v, i), published(v["params"], i, stride)))(
        variables, image
    )
    assert ours.shape == (2, 9, 46, 2)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(jnp.abs(theirs).max()))


@pytest.mark.parametrize("factor", [2, 32])
def test_upsampling_is_the_fixed_deconvolution(factor):
    """With its gradient, on sizes down to 1."""

    @jit_without_optimization
    def both(x):
        ours, back = jax.vjp(lambda x: upsample(x, factor), x)
        theirs, their_back = jax.vjp(lambda x: deconvolution(x, 2 * factor, factor), x)
        g = jnp.sin(jnp.arange(theirs.size, dtype=jnp.float32)).reshape(theirs.shape)
        return (ours, back(g)[0]), (theirs, their_back(g)[0])

    for shape in ((2, 3, 5, 2), (1, 1, 1, 3)):
        for ours, theirs in zip(*both(images(*shape)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_logits_lie_on_their_pixels(stride):
    """Each score, when all others are 0, returns the coordinates of a pixel, along both axes and far from the border.

    All kernels are the identity. The maximum of rising numbers is one end of its window, that of falling numbers is the
    other end. The middle of both is the place where the network takes the pixel of a map to be.
    """
    module = full("fcn", stride=stride, widths=(1,) * 6, num_classes=1, activation="sigmoid")
    size = 190
    rows = np.broadcast_to(np.arange(1.0, size + 1)[:, None], (size, size))
    image = jnp.asarray(np.stack([rows, rows[::-1], rows.T, rows.T[:, ::-1]])[..., None], jnp.float32)

    def identity(leaf):
        kernel = np.zeros(leaf.shape, np.float32)
        if leaf.ndim == 4:
            kernel[leaf.shape[0] // 2, leaf.shape[1] // 2] = 1
        return kernel

    params = jax.tree.map(identity, jax.eval_shape(module.init, jax.random.key(0), image)["params"])
    apply = jit_without_optimization(module.apply)
    for name in SCORES[stride]:
        alone = params | {
            other: jax.tree.map(np.zeros_like, params[other]) for other in SCORES[stride] if other != name
        }
        up, down, right, left = apply({"params": alone}, image)[0][:, 72:-72, 72:-72, 0]
        np.testing.assert_allclose((up - down + size + 1) / 2, rows[72:-72, 72:-72], atol=1e-3, err_msg=name)
        np.testing.assert_allclose((right - left + size + 1) / 2, rows.T[72:-72, 72:-72], atol=1e-3, err_msg=name)


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_a_mirrored_image_has_mirrored_logits(stride):
    """The sizes are those at which the windows end at the border: the image's plus 198 is a multiple of 32."""
    module = full("fcn", stride=stride)
    # Far from its own mirror image.
    image = images(1, 26, 58, 1).at[:, :13, :29].multiply(30)
    variables = random_variables(module, image)
    both_ways = lambda k: (k + k[::-1] + k[:, ::-1] + k[::-1, ::-1]) / 4 if k.ndim == 4 else k  # noqa: E731
    variables = jax.tree.map(both_ways, variables)
    apply = jit_without_optimization(module.apply)
    (logits,), (mirrored,) = apply(variables, image), apply(variables, image[:, ::-1, ::-1])
    atol = 1e-4 * np.abs(logits).max()
    np.testing.assert_allclose(mirrored[:, ::-1, ::-1], logits, rtol=0, atol=atol)
    assert np.abs(mirrored - logits).max() > 10 * atol
    for axis in (1, 2):
        # Logits that are shifted by one pixel would fail.
        assert np.abs(np.diff(logits, axis=axis)).max() > 10 * atol


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_every_size_comes_back(stride):
    """From 1 pixel up, through all remainders of 32."""
    module = full("fcn", stride=stride)
    variables = shapes(module)
    for size in range(1, 18):
        image = jax.ShapeDtypeStruct((1, size, 35 - size, 1), jnp.float32)
        (logits,) = jax.eval_shape(module.apply, variables, image)
        assert logits.shape == (1, size, 35 - size, 2)
        assert (module.output_size(size), module.input_size(size)) == (size, size)


def test_scores_start_at_zero():
    module, image = full("fcn"), images(1, 1, 1, 1)
    names = [*SCORES[8], "fc_7"]
    initial = jax.jit(lambda key: {name: module.init(key, image)["params"][name] for name in names})(jax.random.key(0))
    assert [name for name in names if not np.any(initial[name]["kernel"])] == SCORES[8]
    assert not any(np.any(tree["bias"]) for tree in initial.values())
