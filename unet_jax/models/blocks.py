"""The operators that the networks are built of: H (node), D (pool) and U (up-sampling).

Each operator is written in a form that is fast on a CPU and deterministic on a GPU. This also holds for the gradients: there
is no select-and-scatter and no gather.

- D: 2x2 maximum with stride 2 (Ronneberger et al. 2015, section 2). Where pixels tie, they share the gradient.
- U: doubles height and width and brings the channels to those of the level above, without an activation.
  "transpose" is the papers' 2x2 transposed convolution with stride 2 ("up-conv 2x2"). Its windows do not overlap, so it is
  one matrix product followed by depth-to-space. "bilinear" and "nearest" resize, and reduce the channels by a 1x1
  convolution: the 3x3 convolutions of the next node read the neighbourhood already. A 1x1 convolution commutes with
  interpolation, whose weights sum to one. So it runs first, on a quarter of the pixels, with the same result.
- H: (3x3 convolution, normalisation, ReLU, dropout) twice, over the concatenation of its sources.

Initialisation, unless a network brings another one: He normal for the convolutions, std sqrt(2 / fan-in) (Ronneberger et
al. 2015, section 3; Zhou et al. 2018), and Glorot uniform for up-sampling, which is linear (Zhou et al.'s code). In both
papers the biases start at 0.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from unet_jax.models.conv import conv_general_dilated
from unet_jax.models.operators import Window, join, operator

# Is added to the variance.
BATCH_NORM_EPSILON = 1e-5


def max_pool(x: jax.Array) -> jax.Array:
    """Computes D, the 2x2 maximum with stride 2; `[B, 2h, 2w, C]` -> `[B, h, w, C]`.

    The gradient compares each of the four pixels with the maximum. XLA may recompute `x` with other rounding in the
    backward pass; then no pixel equals the maximum. The barrier prevents that. Some compilers without optimisation ignore
    the barrier. For them the maximum is taken in pairs: its gradient is then 0, and not the division by 0 that the gradient
    of a maximum over an axis has.

    >>> float(max_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item())
    3.0

    Raises:
      ValueError: a side is odd.
    """
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"a map of {x.shape[1]} x {x.shape[2]} has no 2x2 maximum; give even sides")
    return operator(Window(after=1, stride=2), max_2x2, max_2x2, x)


def max_2x2(x: jax.Array) -> jax.Array:
    """Computes D of a whole map, or of a band of its rows; see `max_pool`."""
    x = jax.lax.optimization_barrier(x)
    upper = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    return jnp.maximum(upper, jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2]))


def upsample_nearest_2x(x: jax.Array) -> jax.Array:
    """Repeats each pixel four times; `[B, h, w, C]` -> `[B, 2h, 2w, C]`."""

    def repeat(x):
        batch, height, width, channels = x.shape
        wide = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
        return wide.reshape(batch, 2 * height, 2 * width, channels)

    return operator(Window(scale=2), repeat, repeat, x)


def upsample_bilinear_2x(x: jax.Array) -> jax.Array:
    """Interpolates linearly, with half-pixel centres and repeated edges; `[B, h, w, C]` -> `[B, 2h, 2w, C]`.

    Along an axis y[2i] = (x[i-1] + 3 x[i]) / 4 and y[2i+1] = (3 x[i] + x[i+1]) / 4: two shifts instead of a gather.
    """

    def interpolate(x):
        for axis in (1, 2):
            size = x.shape[axis]
            first, last = jax.lax.slice_in_dim(x, 0, 1, axis=axis), jax.lax.slice_in_dim(x, size - 1, size, axis=axis)
            before = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)], axis)
            after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, size, axis=axis), last], axis)
            pair = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
            x = pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
        return x

    # A band has a row more above and below; the rows that they give are dropped.
    window = Window(1, 1, scale=2, end=1, fill=None, each=((1, 0), (0, 1)))
    return operator(window, lambda x: interpolate(x)[:, 2:-2], interpolate, x)


def conv_transpose_2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes the 2x2 transposed convolution with stride 2.

        y[2i + a, 2j + b, o] = sum over c of x[i, j, c] kernel[a, b, c, o]

    Args:
      x: `[B, h, w, C]`.
      kernel: `[2, 2, C, O]`.

    Returns:
      `[B, 2h, 2w, O]`.
    """
    features = kernel.shape[-1]

    def expand(x):
        batch, height, width, channels = x.shape
        y = x @ kernel.transpose(2, 0, 1, 3).reshape(channels, 4 * features)
        y = y.reshape(batch, height, width, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
        return y.reshape(batch, 2 * height, 2 * width, features)

    return operator(Window(scale=2), expand, expand, x)


UPSAMPLE_2X = {"bilinear": upsample_bilinear_2x, "nearest": upsample_nearest_2x}


class UpSample(nn.Module):
    """Computes U: `[B, h, w, C]` -> `[B, 2h, 2w, features]`, linear.

    Parameters: `bias` `[features]`, and `kernel`. The kernel of "transpose" is `[2, 2, C, features]` (row, column, in, out);
    that of the other methods is `[C, features]`. To convert a kernel to the former: from PyTorch's `ConvTranspose2d` by
    `weight.permute(2, 3, 0, 1)`, from Keras' `Conv2DTranspose` by swapping the last two axes, from flax's
    `nn.ConvTranspose` by reversing the first two.

    Attributes:
      features: channels of the result.
      method: "transpose", "bilinear" or "nearest".
      dtype: of the computation; parameters are float32.
      kernel_init: the initializer of the kernel.
    """

    features: int
    method: str
    dtype: DTypeLike
    kernel_init: Callable = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns `[B, 2h, 2w, features]` of a map `[B, h, w, C]`."""
        window = (2, 2) if self.method == "transpose" else ()
        shape = (*window, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype)
        y = conv_transpose_2x2(x, kernel) if self.method == "transpose" else UPSAMPLE_2X[self.method](x @ kernel)
        return y + bias.reshape(1, 1, 1, -1)


def batch_norm(train: bool, dtype: DTypeLike, axis_name: str | None, name: str) -> nn.BatchNorm:
    """Builds the BatchNorm that every network uses; its statistics are float32 for any dtype.

    Args:
      train: takes mean and variance of the batch; without it, the running averages are used.
      dtype: of the computation.
      axis_name: the mapped axis over which mean and variance are also taken; None for none.
      name: of the submodule.
    """
    return nn.BatchNorm(
        not train, momentum=0.9, epsilon=BATCH_NORM_EPSILON, dtype=dtype, axis_name=axis_name, name=name
    )


class Dropout(nn.Dropout):
    """Sets a fraction `rate` of the activations to 0 in training and scales the rest; `[B, ...]` -> `[B, ...]`.

    Each example has its own mask, folded from the key and the example's position in the batch of all devices along
    `axis_name`. So the masks are the same on any number of devices.

    Attributes:
      axis_name: the mapped axis that the batch is spread over; None for none.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:  # type: ignore[override] # flax's takes a key too
        """Returns `x` with some activations set to 0, or unchanged where `deterministic` is True."""
        if deterministic or self.rate == 0:
            return x
        key, keep = self.make_rng(self.rng_collection), 1 - self.rate
        # Like BatchNorm, it has no axis while the parameters are initialised.
        unmapped = self.axis_name is None or self.is_initializing()
        offset = 0 if unmapped else jax.lax.axis_index(self.axis_name) * x.shape[0]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, offset + jnp.arange(x.shape[0]))
        mask = jax.vmap(lambda key: jax.random.bernoulli(key, keep, x.shape[1:]))(keys)
        return jnp.where(mask, x / keep, 0)


def num_groups(features: int) -> int:
    """Returns the number of groups of group normalisation for a map of `features` channels.

    It is the largest divisor of the channels up to 16 that leaves 2 or more channels in a group. One channel in a group would
    be instance normalisation, which turns a 1x1 map into zeros.

    >>> [num_groups(features) for features in (32, 64, 35, 70, 7)]
    [16, 16, 7, 14, 1]
    """
    return max(n for n in range(1, 17) if features % n == 0 and (n == 1 or features // n >= 2))


class Block(nn.Module):
    """Computes H: concatenates its sources, then twice 3x3 convolution, normalisation, ReLU, dropout.

    Convolutions have a bias only without normalisation, which would subtract it again. Statistics are float32 for any
    dtype.

    Attributes:
      features: channels of the result.
      padding: "same" (zeros beyond the border) or "valid".
      norm: "none", "batch", "group" or "instance".
      dropout: the rate after the first and after the second ReLU.
      dtype: of the computation; parameters are float32.
      axis_name: the mapped axis over which BatchNorm takes its mean and variance.
      kernel_init: the initializer of the kernels.
    """

    features: int
    padding: str
    norm: str
    dropout: tuple[float, float]
    dtype: DTypeLike
    axis_name: str | None = None
    kernel_init: Callable = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, sources: Sequence[jax.Array], train: bool) -> jax.Array:
        """Returns the map of the node.

        Args:
          sources: maps `[B, H, W, C_k]` of equal size.
          train: takes the statistics of the batch and drops activations.

        Returns:
          `[B, H, W, features]` with "same" padding, `[B, H - 4, W - 4, features]` with "valid".
        """
        x = jnp.concatenate(join(sources), axis=-1) if len(sources) > 1 else sources[0]
        for k in range(2):
            x = nn.Conv(
                self.features,
                (3, 3),
                padding=self.padding.upper(),
                use_bias=self.norm == "none",
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                conv_general_dilated=conv_general_dilated,
                name=f"conv_{k}",
            )(x)
            x = nn.relu(self.normalise(x, train, f"norm_{k}"))
            x = Dropout(self.dropout[k], axis_name=self.axis_name)(x, deterministic=not train)
        return x

    def normalise(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        """Normalises a map `[B, H, W, C]` by the submodule called `name`; without normalisation returns it unchanged."""
        if self.norm == "batch":
            return batch_norm(train, self.dtype, self.axis_name, name)(x)
        if self.norm == "group":
            return nn.GroupNorm(num_groups(self.features), epsilon=1e-5, dtype=self.dtype, name=name)(x)
        if self.norm == "instance":
            return nn.InstanceNorm(epsilon=1e-5, dtype=self.dtype, name=name)(x)
        return x
