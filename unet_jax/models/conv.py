"""The 3x3 convolution, with the form of its weight gradient that a CPU runs fastest.

The weight gradient correlates the input x with the gradient g of the output over all pixels of the batch:

    dw[i, j, c, o] = sum over b, h, w of x[b, h + i, w + j, c] g[b, h, w, o]

XLA writes it as a convolution whose window is the whole map and whose channels are the batch. A CPU runs that at less
than half the speed of the forward convolution, and needs the same time again to transpose both arrays. Here the images
of the batch are stacked into one tall image of one channel, with rows of zeros between them. Then g is the window as it
lies in memory, and only x is transposed. The sum is the same up to rounding. Small maps gain nothing from it, and other
devices are fast with the plain form.

The convolution and its weight gradient are each a JAX primitive, linear in either argument. Each primitive's transpose
is written with the other one, so JAX derives every kind of derivative: forward, reverse, and of any order.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from unet_jax.models.operators import Window, operator

NHWC = ("NHWC", "HWIO", "NHWC")
# Maps with at least this number of pixels (16 x 16) take the tall form.
LEAST_PIXELS = 256


def plain(x: jax.Array, kernel: jax.Array, padding: str) -> jax.Array:
    """Convolves `[B, H, W, C]` with `[3, 3, C, O]`; returns `[B, H, W, O]` ("SAME") or `[B, H - 2, W - 2, O]` ("VALID")."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=NHWC)


def plain_input_gradient(
    x: jax.Array | jax.ShapeDtypeStruct, kernel: jax.Array, g: jax.Array, padding: str
) -> jax.Array:
    """Returns dx `[B, H, W, C]` as automatic differentiation writes it; only the shape and the dtype of `x` are used."""
    x = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.linear_transpose(lambda x: plain(x, kernel, padding), x)(g)[0]


def plain_kernel_gradient(x: jax.Array, g: jax.Array, padding: str) -> jax.Array:
    """Returns dw `[3, 3, C, O]` as automatic differentiation writes it."""
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: plain(x, kernel, padding), kernel)(g)[0]


def tall_kernel_gradient(x: jax.Array, g: jax.Array, padding: str) -> jax.Array:
    """Returns dw `[3, 3, C, O]`, computed from the batch as one tall image; the module's docstring explains it."""
    border = 1 if padding == "SAME" else 0
    x = jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    batch, height, width, channels = x.shape
    x = x.reshape(batch * height, width, channels).transpose(2, 0, 1)[..., None]
    g = jnp.pad(g, ((0, 0), (0, 2), (0, 0), (0, 0))).reshape(batch * height, width - 2, 1, g.shape[-1])
    return jax.lax.conv_general_dilated(x, g[:-2], (1, 1), "VALID", dimension_numbers=NHWC).transpose(1, 2, 0, 3)


def kernel_gradient(x: jax.Array, g: jax.Array, padding: str) -> jax.Array:
    """Returns dw `[3, 3, C, O]` in the form that suits the size of the map and the platform."""
    if g.shape[1] * g.shape[2] < LEAST_PIXELS:
        return plain_kernel_gradient(x, g, padding)
    tall, usual = (functools.partial(form, padding=padding) for form in (tall_kernel_gradient, plain_kernel_gradient))
    return jax.lax.platform_dependent(x, g, cpu=tall, default=usual)


def create_primitive(name: str, function: Callable) -> Primitive:
    """Creates a primitive that runs as `function(a, b, padding)`: alone, in a compiled program, and under `vmap`."""
    compiled = jax.jit(function, static_argnames="padding")

    def result_type(a, b, padding):
        return compiled.trace(a, b, padding=padding).jaxpr.out_avals[0]

    def batch(arguments, axes, padding):
        return jax.vmap(functools.partial(function, padding=padding), axes)(*arguments), 0

    primitive = Primitive(name)
    primitive.def_impl(compiled)
    primitive.def_abstract_eval(result_type)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


_conv_p = create_primitive("conv3x3", plain)
_kernel_gradient_p = create_primitive("conv3x3_kernel_gradient", kernel_gradient)

# The transposes: first with respect to the first argument, then to the second. `out` is the cotangent of the result. The
# argument whose cotangent is computed has a shape, but no value.
ad.defbilinear(
    _conv_p,
    lambda out, x, kernel, padding: plain_input_gradient(x.aval, kernel, out, padding),
    lambda out, x, kernel, padding: _kernel_gradient_p.bind(x, out, padding=padding),
)
ad.defbilinear(
    _kernel_gradient_p,
    lambda out, x, g, padding: plain_input_gradient(x.aval, out, g, padding),
    lambda out, x, g, padding: _conv_p.bind(x, out, padding=padding),
)


def conv3x3(x: jax.Array, kernel: jax.Array, padding: str) -> jax.Array:
    """Convolves as `plain` does; on a CPU its weight gradient takes the tall form."""
    return _conv_p.bind(x, kernel, padding=padding)


def conv_general_dilated(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str,
    *,
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: object,
    feature_group_count: int,
    precision: object,
) -> jax.Array:
    """Applies `conv3x3`; has the arguments that `nn.Conv(..., conv_general_dilated=...)` passes to such a function.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[3, 3, C, O]`.
      strides: 1 along each axis.
      padding: "SAME" or "VALID".
      lhs_dilation: 1 along each axis.
      rhs_dilation: 1 along each axis.
      dimension_numbers: not used, as flax always convolves `[B, H, W, C]`.
      feature_group_count: 1.
      precision: None.

    Raises:
      ValueError: the convolution is not 3x3, or has a stride, a dilation, groups or a precision.
    """
    ones = (*strides, *lhs_dilation, *rhs_dilation, feature_group_count)
    if kernel.shape[:2] != (3, 3) or set(ones) != {1} or precision is not None:
        raise ValueError(
            f"kernel {kernel.shape}, strides {strides}, dilations {lhs_dilation} and {rhs_dilation}, groups "
            f"{feature_group_count}, precision {precision}: conv3x3 takes a 3x3 kernel and the defaults of all others"
        )
    del dimension_numbers
    window = Window(1, 1, end=1) if padding == "SAME" else Window(after=2)
    columns = (window.before, window.end)

    def band(x):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), ((0, 0), columns), dimension_numbers=NHWC)

    return operator(window, band, lambda x: conv3x3(x, kernel, padding), x)


def conv_of_any_size(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Any, **options: Any
) -> jax.Array:
    """Applies the plain convolution of JAX; a function for `nn.Conv(..., conv_general_dilated=...)`.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[k, k, C, O]`.
      strides: the same along both axes.
      padding: "SAME" (of a stride of 1), "VALID", or the numbers of zeros before and after each axis, the same for both.
      **options: of `jax.lax.conv_general_dilated`; no dilation.
    """
    border = kernel.shape[0] // 2 if padding == "SAME" else 0
    before, end = (border, border) if isinstance(padding, str) else padding[0]
    window = Window(before, kernel.shape[0] - 1 - before, strides[0], end=end)

    def convolve(x, padding):
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)

    return operator(window, lambda x: convolve(x, ((0, 0), (before, end))), lambda x: convolve(x, padding), x)
