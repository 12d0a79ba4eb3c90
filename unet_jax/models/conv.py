"""The 3x3 convolution, and its weight gradient in the form that a CPU runs fastest.

The weight gradient correlates the input x with the gradient g of the output over all pixels of the batch:

    dw[i, j, c, o] = sum over b, h, w of x[b, h + i, w + j, c] g[b, h, w, o]

XLA writes it as a convolution whose window is the whole map and whose channels are the batch. A CPU runs that at less
than half of the speed of the forward convolution, and spends as long again on moving both arrays into that order. Here the
images of a batch stand below each other as one tall image of one channel: then g is the window as it lies in memory,
and x alone has to be moved, the channels first. Rows of zeros between the images keep them apart. The sum is the same to
rounding. Where maps are small there is nothing to gain; on other devices the plain form is fast, and `jax.lax`
chooses when a program is lowered for its device.
"""

import functools

import jax
import jax.numpy as jnp

NHWC = ("NHWC", "HWIO", "NHWC")
LEAST_PIXELS = 256  # of a map whose weight gradient takes the tall form: 16 x 16


def plain(x: jax.Array, kernel: jax.Array, padding: str) -> jax.Array:
    """`[B, H, W, C]`, `[3, 3, C, O]` -> `[B, H, W, O]` ("SAME") or `[B, H-2, W-2, O]` ("VALID")."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=NHWC)


def plain_kernel_gradient(x: jax.Array, g: jax.Array, padding: str) -> jax.Array:
    """dw `[3, 3, C, O]` as automatic differentiation writes it."""
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: plain(x, kernel, padding), kernel)(g)[0]


def tall_kernel_gradient(x: jax.Array, g: jax.Array, padding: str) -> jax.Array:
    """dw `[3, 3, C, O]` from the images of the batch below each other, see above."""
    border = 1 if padding == "SAME" else 0
    x = jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    batch, height, width, channels = x.shape
    x = x.reshape(batch * height, width, channels).transpose(2, 0, 1)[..., None]
    g = jnp.pad(g, ((0, 0), (0, 2), (0, 0), (0, 0))).reshape(batch * height, width - 2, 1, g.shape[-1])
    return jax.lax.conv_general_dilated(x, g[:-2], (1, 1), "VALID", dimension_numbers=NHWC).transpose(1, 2, 0, 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv3x3(x: jax.Array, kernel: jax.Array, padding: str) -> jax.Array:
    """`plain`, with a weight gradient of its own on CPUs."""
    return plain(x, kernel, padding)


def _forward(x, kernel, padding):
    return plain(x, kernel, padding), (x, kernel)


def _backward(padding, saved, g):
    x, kernel = saved
    (dx,) = jax.linear_transpose(lambda x: plain(x, kernel, padding), x)(g)
    if g.shape[1] * g.shape[2] < LEAST_PIXELS:
        return dx, plain_kernel_gradient(x, g, padding)
    tall, usual = (functools.partial(form, padding=padding) for form in (tall_kernel_gradient, plain_kernel_gradient))
    return dx, jax.lax.platform_dependent(x, g, cpu=tall, default=usual)


conv3x3.defvjp(_forward, _backward)


def conv_general_dilated(
    x, kernel, strides, padding, *, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, precision
):
    """`conv3x3` where `nn.Conv(..., conv_general_dilated=...)` wants a function of this kind; ValueError for any other."""
    ones = (*strides, *lhs_dilation, *rhs_dilation, feature_group_count)
    if kernel.shape[:2] != (3, 3) or set(ones) != {1} or precision is not None:
        raise ValueError("conv3x3 is a 3x3 convolution of stride 1, not dilated, not grouped, of default precision")
    del dimension_numbers  # flax convolves [B, H, W, C] alone
    return conv3x3(x, kernel, padding)
