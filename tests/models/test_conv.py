"""The 3x3 convolution's own gradients against automatic differentiation, and which form a device gets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_devices_get_the_program_of_automatic_differentiation(platform):
    def lowered(function):
        def total(x, kernel):
            return function(x, kernel, "SAME").sum()

        text = jax.jit(jax.grad(total, (0, 1))).trace(jnp.ones(LARGE), jnp.ones((3, 3, 5, 4)))
        return text.lower(lowering_platforms=(platform,)).as_text()

    def convolutions(text):
        return sorted(line.split("stablehlo.convolution")[1] for line in text.splitlines() if "convolution" in line)

    assert [c.split(")", 1)[1] for c in convolutions(lowered(conv.conv3x3))] == [
        c.split(")", 1)[1] for c in convolutions(lowered(conv.plain))
    ]
