"""Compares the 3x3 convolution's derivatives with those of `jax.lax`, and checks the form that each device gets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from unet_jax.models import blocks, conv, fc_densenet

# Above and below LEAST_PIXELS.
LARGE, SMALL = (3, 17, 20, 5), (2, 6, 6, 5)


def gradients(function, x, kernel, padding):
    result, pull = jax.vjp(lambda x, kernel: function(x, kernel, padding), x, kernel)
    return result, *pull(jax.random.normal(jax.random.key(2), result.shape, result.dtype))


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("shape", [LARGE, SMALL])
def test_value_and_gradients_equal_the_plain_ones(shape, padding):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, shape[-1], 4))
    ours = jax.jit(gradients, static_argnums=(0, 3))(conv.conv3x3, x, kernel, padding)
    plain = jax.jit(gradients, static_argnums=(0, 3))(conv.plain, x, kernel, padding)
    np.testing.assert_array_equal(ours[0], plain[0])
    for a, b in zip(ours[1:], plain[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_both_forms_of_the_weight_gradient(padding):
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
    """Returns the convolutions of value and gradients lowered for a platform: shapes, windows and paddings."""

    def total(x, kernel):
        return function(x, kernel, "SAME").sum()

    traced = jax.jit(jax.grad(total, (0, 1))).trace(jnp.ones(LARGE), jnp.ones((3, 3, 5, 4)))
    lines = traced.lower(lowering_platforms=(platform,)).as_text().splitlines()
    return sorted(line.split("stablehlo.convolution")[1].split(")", 1)[1] for line in lines if ".convolution" in line)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_devices_get_the_plain_convolutions(platform):
    assert convolutions(conv.conv3x3, platform) == convolutions(conv.plain, platform)


def test_a_cpu_gets_one_tall_weight_gradient():
    def tall(lines):
        # `[C, B (H + 2), W + 2, 1]`
        return [line for line in lines if "x1xf32>" in line]

    assert len(tall(convolutions(conv.conv3x3, "cpu"))) == 1
    assert tall(convolutions(conv.plain, "cpu")) == []


def loss(function, padding):
    """Returns a nonlinear scalar function of x and kernel, so that second derivatives are not 0."""
    return lambda x, kernel: jnp.tanh(function(x, kernel, padding)).mean()


def squared_gradient(function):
    """Returns the sum of the squares of both gradients of a scalar function, as a function of the same arguments."""
    return lambda *primals: sum(jnp.sum(g**2) for g in jax.grad(function, (0, 1))(*primals))


def hessian_product(function, *primals):
    return jax.jvp(jax.grad(function, (0, 1)), primals, primals)


def vmap_of_grad(axes):
    """Returns per-example gradients of a loss, with an additional leading axis on the arguments that `axes` names."""

    def derive(function, x, kernel):
        batched = [
            jnp.stack([a, 0.5 * a, a + 1]) if axis == 0 else a for a, axis in zip((x, kernel), axes, strict=True)
        ]
        return jax.vmap(jax.grad(function, (0, 1)), axes)(*batched)

    return derive


# Each is `(loss, x, kernel) -> derivatives`.
DERIVATIVES = {
    "jvp": lambda f, *primals: jax.jvp(f, primals, primals),
    "linearize": lambda f, *primals: jax.linearize(f, *primals)[1](*primals),
    "jacfwd": lambda f, x, kernel: jax.jacfwd(f, 1)(x, kernel),
    "hessian": lambda f, x, kernel: jax.hessian(f, 1)(x, kernel),
    "hessian_product": hessian_product,
    "grad_of_grad": lambda f, *primals: jax.grad(squared_gradient(f), (0, 1))(*primals),
    "vmap_of_grad_x": vmap_of_grad((0, None)),
    "vmap_of_grad_kernel": vmap_of_grad((None, 0)),
    "vmap_of_grad_both": vmap_of_grad((0, 0)),
    "remat": lambda f, *primals: jax.grad(jax.checkpoint(f), (0, 1))(*primals),
}


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("shape", [LARGE, SMALL])
@pytest.mark.parametrize("kind", DERIVATIVES)
def test_derivatives_of_every_kind_and_order(kind, shape, padding):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, shape[-1], 2)) / 5
    ours, plain = (
        jax.tree.leaves(jax.jit(functools.partial(DERIVATIVES[kind], loss(function, padding)))(x, kernel))
        for function in (conv.conv3x3, conv.plain)
    )
    for a, b in zip(ours, plain, strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("shape", [LARGE, SMALL])
def test_derivatives_outside_of_a_compiled_program(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, shape[-1], 2))
    ours, plain = (hessian_product(loss(function, "SAME"), x, kernel) for function in (conv.conv3x3, conv.plain))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("up_convolution", "size"),
    [(blocks.conv_transpose_2x2, 2), (fc_densenet.conv_transpose_3x3, 3)],
    ids=["2x2", "3x3"],
)
def test_up_convolutions_have_forward_derivatives(up_convolution, size):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 3))
    kernel, tangent = jax.random.normal(jax.random.key(1), (2, size, size, 3, 2))
    value, derivative = jax.jvp(lambda kernel: up_convolution(x, kernel), (kernel,), (tangent,))
    np.testing.assert_array_equal(value, up_convolution(x, kernel))
    # It is linear in the kernel.
    np.testing.assert_allclose(derivative, up_convolution(x, tangent), rtol=1e-5, atol=1e-5)
    jacobian = jax.jacfwd(lambda kernel: up_convolution(x, kernel))(kernel)
    np.testing.assert_allclose(jnp.tensordot(jacobian, tangent, 4), derivative, rtol=1e-4, atol=1e-4)


def test_only_its_own_kind_of_convolution_is_taken():
    for options in ({"strides": 2}, {"kernel_dilation": 2}, {"input_dilation": 2}, {"feature_group_count": 2}):
        layer = nn.Conv(4, (3, 3), conv_general_dilated=conv.conv_general_dilated, **options)
        with pytest.raises(ValueError, match="3x3"):
            layer.init(jax.random.key(0), jnp.ones((1, 8, 8, 4)))
