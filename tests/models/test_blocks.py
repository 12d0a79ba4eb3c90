"""Compares pooling and up-sampling with those of flax and JAX, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers.small_nets import images

from unet_jax.models import blocks

SHAPE = (2, 6, 10, 5)


def value_and_gradients(function, *arguments):
    """Returns the result, and the gradients of its product with fixed numbers that differ from place to place."""

    def total(*arguments):
        result = function(*arguments)
        return (result * images(*result.shape, key=7)).sum(), result

    (_, result), gradients = jax.value_and_grad(total, tuple(range(len(arguments))), has_aux=True)(*arguments)
    return result, *gradients


def assert_same(ours, theirs, *arguments):
    both = jax.jit(lambda *arguments: [value_and_gradients(function, *arguments) for function in (ours, theirs)])
    for a, b in zip(*both(*arguments), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.fixture
def x():
    return images(*SHAPE)


def start(block, x):
    return jax.jit(lambda x: block.init(jax.random.key(0), [x], True))(x)


def maps(block, variables, x):
    """Returns the output of each layer of the block in training, by name."""
    options = {"capture_intermediates": True, "mutable": ["intermediates", "batch_stats"]}
    _, state = jax.jit(lambda variables, x: block.apply(variables, [x], True, **options))(variables, x)
    return {name: calls["__call__"][0] for name, calls in state["intermediates"].items() if name != "__call__"}


def test_max_pool_is_flax_max_pool(x):
    assert_same(blocks.max_pool, lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)


@pytest.mark.parametrize(("height", "width"), [(3, 4), (4, 3), (1, 2)])
def test_max_pool_of_an_odd_side_is_refused(height, width):
    with pytest.raises(ValueError, match=f"{height} x {width}"):
        blocks.max_pool(jnp.ones((1, height, width, 2)))


def test_max_pool_shares_the_gradient_at_ties():
    gradient = jax.grad(lambda x: blocks.max_pool(x).sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient, np.full((1, 2, 2, 1), 0.25))


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 3, 2)])
def test_resize_is_jax_image_resize(method, shape):
    batch, height, width, channels = shape
    x = images(*shape)
    wide = (batch, 2 * height, 2 * width, channels)
    assert_same(blocks.UPSAMPLE_2X[method], lambda x: jax.image.resize(x, wide, method), x)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_reducing_channels_first_is_reducing_them_last(x, method):
    module = blocks.UpSample(3, method, jnp.float32)
    kernel, bias = images(5, 3), jnp.arange(3.0)

    def resize_then_reduce(x, kernel, bias):
        return blocks.UPSAMPLE_2X[method](x) @ kernel + bias.reshape(1, 1, 1, 3)

    ours = lambda x, kernel, bias: module.apply({"params": {"kernel": kernel, "bias": bias}}, x)  # noqa: E731
    assert_same(ours, resize_then_reduce, x, kernel, bias)


def test_transposed_convolution_is_flax_conv_transpose(x):
    module = blocks.UpSample(3, "transpose", jnp.float32)
    kernel, bias = images(2, 2, 5, 3), jnp.arange(3.0)

    def flax(x, kernel, bias):
        parameters = {"kernel": kernel[::-1, ::-1], "bias": bias}
        return nn.ConvTranspose(3, (2, 2), (2, 2), padding="VALID").apply({"params": parameters}, x)

    ours = lambda x, kernel, bias: module.apply({"params": {"kernel": kernel, "bias": bias}}, x)  # noqa: E731
    assert_same(ours, flax, x, kernel, bias)


def test_no_gather_scatter_or_select_and_scatter(x):
    """They are slow on a CPU, and refused or not deterministic on a GPU."""
    kernel = jnp.ones((2, 2, 5, 3))

    def everything(x):
        wide = blocks.conv_transpose_2x2(
            blocks.max_pool(blocks.upsample_bilinear_2x(blocks.upsample_nearest_2x(x))), kernel
        )
        return jnp.square(wide).sum()

    text = jax.jit(jax.grad(everything)).lower(x).as_text()
    assert "dot_general" in text
    assert "gather" not in text
    assert "scatter" not in text


def test_number_of_groups_fits_any_width():
    """It is the largest number up to 16 that leaves no channel alone in a group."""
    for features in range(1, 1025):
        groups = blocks.num_groups(features)
        fit = [n for n in range(2, 17) if features % n == 0 and features > n]
        assert groups == max(fit, default=1)


def test_number_of_groups_of_known_widths():
    """The published widths, the wide U-Net's, and small ones."""
    assert {blocks.num_groups(width) for width in (32, 64, 128, 256, 512, 1024)} == {16}
    assert [blocks.num_groups(width) for width in (35, 70, 140, 280, 560)] == [7, 14, 14, 14, 16]
    assert [blocks.num_groups(width) for width in (1, 2, 3, 4, 8, 16, 48)] == [1, 1, 1, 2, 4, 8, 16]


@pytest.mark.parametrize(("norm", "axes"), [("batch", (0, 1, 2)), ("instance", (1, 2)), ("group", (1, 2, 4))])
def test_normalisation_is_over_the_right_axes(norm, axes, x):
    block = blocks.Block(8, "same", norm, (0.0, 0.0), jnp.float32)
    variables = start(block, x)
    y = np.asarray(nn.Conv(8, (3, 3), use_bias=False).apply({"params": variables["params"]["conv_0"]}, x))
    split = y.reshape(*y.shape[:3], blocks.num_groups(8), -1) if norm == "group" else y
    mean, variance = split.mean(axes, keepdims=True), split.var(axes, keepdims=True)
    expected = ((split - mean) / np.sqrt(variance + 1e-5)).reshape(y.shape)
    np.testing.assert_allclose(maps(block, variables, x)["norm_0"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_statistics_are_float32_whatever_the_dtype(norm, x):
    """A mean far above the spread: statistics in bfloat16, which has 8 bits, would be far off."""
    block = blocks.Block(8, "valid", norm, (0.0, 0.0), jnp.bfloat16)
    variables = start(block, x + 30.0)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    # Not compiled as a whole: the compiler may leave out the rounding of what `conv_0` gives.
    collections = ["intermediates", "batch_stats"]
    y, state = block.apply(variables, [x + 30.0], True, capture_intermediates=True, mutable=collections)
    assert y.dtype == jnp.bfloat16
    before, after = (np.float64(state["intermediates"][name]["__call__"][0]) for name in ("conv_0", "norm_0"))
    split = before.reshape(*before.shape[:3], blocks.num_groups(8), -1) if norm == "group" else before
    axes = {"batch": (0, 1, 2), "group": (1, 2, 4), "instance": (1, 2)}[norm]
    expected = (split - split.mean(axes, keepdims=True)) / np.sqrt(split.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(after, expected.reshape(after.shape), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("norm", ["none", "batch", "group", "instance"])
def test_convolutions_have_a_bias_unless_normalised(norm, x):
    variables = jax.eval_shape(
        lambda x: blocks.Block(8, "same", norm, (0.0, 0.0), jnp.float32).init(jax.random.key(0), [x], False), x
    )
    assert ("bias" in variables["params"]["conv_0"]) == (norm == "none")
    assert ("norm_1" in variables["params"]) == (norm != "none")
