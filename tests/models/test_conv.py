"""The 3x3 convolution's own gradients against automatic differentiation, and which form a device gets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from unet_jax.models import conv

LARGE, SMALL = (3, 17, 20, 5), (2, 6, 6, 5)  # above and below LEAST_PIXELS


def gradients(function, x, kernel, padding):
    result, pull = jax.vjp(lambda x, kernel: function(x, kernel, padding), x, kernel)
    return result, *pull(jax.random.normal(jax.random.key(2), result.shape, result.dtype))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("shape", [LARGE, SMALL])
def test_value_and_gradients_are_those_of_the_plain_convolution(shape, padding):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, shape[-1], 4))
    ours = jax.jit(gradients, static_argnums=(0, 3))(conv.conv3x3, x, kernel, padding)
    plain = jax.jit(gradients, static_argnums=(0, 3))(conv.plain, x, kernel, padding)
    np.testing.assert_array_equal(ours[0], plain[0])
    for a, b in zip(ours[1:], plain[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_both_forms_of_the_weight_gradient_are_its_definition(padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 7, 3))
    border = padding == "SAME"
    wide = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    g = rng.normal(size=(2, wide.shape[1] - 2, wide.shape[2] - 2, 4))
    expected = np.zeros((3, 3, 3, 4))
    for i, j in np.ndindex(3, 3):
        part = wide[:, i : i + g.shape[1], j : j + g.shape[2]]
        expected[i, j] = np.einsum("bhwc,bhwo->co", part, g)
    for form in (conv.tall_kernel_gradient, conv.plain_kernel_gradient):
        result = form(jnp.float32(x), jnp.float32(g), padding)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def convolutions(function, platform):
    """The convolutions of value and gradients, as they are lowered for a platform: shapes, windows and paddings."""

    def total(x, kernel):
        return function(x, kernel, "SAME").sum()

    traced = jax.jit(jax.grad(total, (0, 1))).trace(jnp.ones(LARGE), jnp.ones((3, 3, 5, 4)))
    lines = traced.lower(lowering_platforms=(platform,)).as_text().splitlines()
    return sorted(line.split("stablehlo.convolution")[1].split(")", 1)[1] for line in lines if ".convolution" in line)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_devices_get_the_convolutions_of_automatic_differentiation(platform):
    assert convolutions(conv.conv3x3, platform) == convolutions(conv.plain, platform)


def test_a_cpu_gets_a_weight_gradient_of_one_tall_image():
    def tall(lines):
        return [line for line in lines if "x1xf32>" in line]  # [C, B (H + 2), W + 2, 1]

    assert len(tall(convolutions(conv.conv3x3, "cpu"))) == 1
    assert tall(convolutions(conv.plain, "cpu")) == []


def test_only_its_own_kind_of_convolution_is_taken():
    for knobs in ({"strides": 2}, {"kernel_dilation": 2}, {"input_dilation": 2}, {"feature_group_count": 2}):
        layer = nn.Conv(4, (3, 3), conv_general_dilated=conv.conv_general_dilated, **knobs)
        with pytest.raises(ValueError, match="stride 1, not dilated"):
            layer.init(jax.random.key(0), jnp.ones((1, 8, 8, 4)))
