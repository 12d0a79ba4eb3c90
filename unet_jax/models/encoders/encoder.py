"""The base class of the encoders: the levels of their maps, PyTorch's convolution, normalisation and pools.

Strides, paddings and epsilons are those of torchvision's networks, so that its weights give its features. The gradients of
the pools need no select-and-scatter, as in `models/blocks.py`. Height and width of the images are multiples of 2^depth
pixels.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from unet_jax.models.blocks import batch_norm
from unet_jax.models.conv import conv_general_dilated, conv_of_any_size
from unet_jax.models.operators import Window, operator


class Layers(nn.Module):
    """Builds convolutions and normalisations.

    Attributes:
      dtype: of the computation; parameters and statistics are float32.
      axis_name: the mapped axis over which BatchNorm takes its mean and variance.
    """

    dtype: DTypeLike
    axis_name: str | None

    def conv(self, features: int, size: int, name: str, *, stride: int = 1, bias: bool = False) -> nn.Conv:
        """Builds a `size` x `size` convolution as the submodule `name`, with (size - 1) / 2 zeros on every side.

        Flax's "SAME" has fewer zeros at the start where the stride is 2.
        """
        border = (size // 2, size // 2)
        return nn.Conv(
            features,
            (size, size),
            stride,
            padding="SAME" if stride == 1 else (border, border),
            use_bias=bias,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            conv_general_dilated=conv_general_dilated if (size, stride) == (3, 1) else conv_of_any_size,
            name=name,
        )

    def norm(self, name: str, train: bool) -> nn.BatchNorm:
        """Builds BatchNorm as the submodule `name`; Flax's momentum of 0.9 is PyTorch's of 0.1."""
        return batch_norm(train, self.dtype, self.axis_name, name)


class Encoder(Layers):
    """Maps images `[B, H, W, C]` to a tuple of maps, one per level of `levels`.

    The map of level j is `[B, H / 2^j, W / 2^j, widths[j]]`. A subclass has its options as fields, `widths`, and
    `__call__(images, train)`. The submodules of level j are built for a `depth` of j and more. So the variables of a
    shallower encoder are, by their names, a subset of those of a deeper one.

    Attributes:
      depth: the deepest level that is built; 0 for all.
    """

    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    depth: int = 0

    # The convolution that reads the images.
    FIRST: ClassVar[str] = "stem_conv"

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the map of each level that the encoder knows, shallow to deep."""
        raise NotImplementedError

    @property
    def levels(self) -> list[int]:
        """The levels that are built."""
        return [level for level in self.widths if level <= (self.depth or level)]


def max_pool_3x3(x: jax.Array) -> jax.Array:
    """Computes the 3x3 maximum with stride 2 and a border of -inf: `[B, H, W, C]` -> `[B, ceil(H / 2), ceil(W / 2), C]`.

    Along each axis it is the maximum of three shifted maps, at every second pixel. Pixels that tie share the gradient.
    """

    def pool(x, filled):
        for axis in (1, 2):
            if axis in filled:
                x = jnp.pad(x, [(int(a == axis), int(a == axis)) for a in range(4)], constant_values=-jnp.inf)
            last = x.shape[axis] - 2
            a, b, c = (jax.lax.slice_in_dim(x, k, k + last, stride=2, axis=axis) for k in range(3))
            x = jnp.maximum(jnp.maximum(a, b), c)
        return x

    window = Window(1, 1, stride=2, end=1, fill=-jnp.inf)
    return operator(window, lambda x: pool(x, filled=(2,)), lambda x: pool(x, filled=(1, 2)), x)


def mean_pool(x: jax.Array) -> jax.Array:
    """Computes the 2x2 mean with stride 2; `[B, 2h, 2w, C]` -> `[B, h, w, C]`."""

    def pool(x):
        batch, height, width, channels = x.shape
        return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))

    return operator(Window(after=1, stride=2), pool, pool, x)
