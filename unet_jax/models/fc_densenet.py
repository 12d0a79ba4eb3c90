"""FC-DenseNet (Jegou, Drozdzal, Vazquez, Romero, Bengio, CVPR Workshops 2017).

The paper: "The One Hundred Layers Tiramisu: Fully Convolutional DenseNets for Semantic Segmentation".

A layer H is BatchNorm, ReLU, 3x3 convolution to `growth_rate` maps, and dropout (table 1). [ ] is concatenation. A dense
block of n layers over its input x makes new maps (section 3.1, figure 2):

    h_l = H_l([x, h_0, ..., h_{l-1}]),    new(x) = [h_0, ..., h_{n-1}],    all(x) = [x, new(x)]

With d blocks on the way down, the network is (section 3.2, figure 1):

    a_0 = all(first(image)),    a_i = all(TD(a_{i-1})),    n_d = new(TD(a_{d-1}))
    a'_i = all([TU(n_{i+1}), a_i]),    n_i its new maps,                  i = d-1 .. 0
    logits = 1x1 convolution of a'_0

TD is BatchNorm, ReLU, a 1x1 convolution that keeps the number of maps, dropout, and a 2x2 maximum with stride 2. TU is a
3x3 transposed convolution with stride 2 that keeps the number of maps. It reads only the new maps of the block below,
which keeps the number of maps on the way up small. From h rows it makes 2h + 1, and the same for columns; the last one is
dropped, so that they fit the skip. The order within [ ] is that of the authors' code; another order would only permute the
weights.

Submodules: `first`, the layers `down_i_l`, `bottleneck_l` and `up_i_l`, `transition_down_i` from level i down,
`transition_up_i` up to level i, and `head`. Levels i count from 0, the image's resolution; layers l count from 0.

Parameters for 3 channels and 11 classes, without and with the statistics of BatchNorm: 9,322,091 and 9,425,163 ("103"),
3,463,243 and 3,502,923 ("67"), 1,376,795 and 1,397,963 ("56"). Every convolution has a bias. Layers begin with BatchNorm,
which in training subtracts the bias of what they read. So most biases have a gradient that is only rounding, and drift
apart on other numbers of devices, without effect. The exceptions are the biases that the head reads without BatchNorm:
those of `first`, `down_0_l`, `up_0_l` and `transition_up_0`.

Every kernel is initialised He uniform, within sqrt(6 / fan-in) (section 4.1); the fan-in of TU is 9 times its maps.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from unet_jax.checks import sequence_of, whole
from unet_jax.errors import UserError
from unet_jax.models.blocks import Dropout, batch_norm, max_pool
from unet_jax.models.conv import conv_general_dilated
from unet_jax.models.network import CHANNELS, MOST_DEPTH, MOST_LAYERS, Network
from unet_jax.models.operators import Window, join, operator

LAYERS = sequence_of(whole(1, MOST_LAYERS), example="(2, 3, 4, 3, 2)")
_HE_UNIFORM = nn.initializers.he_uniform()


def conv_transpose_3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes the 3x3 transposed convolution with stride 2, without its last row and column.

    Along the rows, and in the same way along the columns, it is

        y[2i] = x[i] k[0] + x[i-1] k[2],    y[2i + 1] = x[i] k[1]

    So one matrix product gives the terms of all nine weights, and additions follow.

    Args:
      x: `[B, h, w, C]`.
      kernel: `[3, 3, C, O]`.

    Returns:
      `[B, 2h, 2w, O]`.
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    y = x @ kernel.transpose(2, 0, 1, 3).reshape(channels, 9 * features)
    y = y.reshape(batch, height, width, 3, 3, features)
    rows = jnp.stack([y[:, :, :, 0] + _later(y[:, :, :, 2], 1), y[:, :, :, 1]], 2)
    y = rows.reshape(batch, 2 * height, width, 3, features)
    columns = jnp.stack([y[:, :, :, 0] + _later(y[:, :, :, 2], 2), y[:, :, :, 1]], 3)
    return columns.reshape(batch, 2 * height, 2 * width, features)


def _later(x, axis):
    """Shifts each row (column) by one: zeros come first, the last is dropped."""
    shifts = [(int(k == axis), -int(k == axis), 0) for k in range(x.ndim)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), shifts)


class DenseLayer(nn.Module):
    """Computes BatchNorm, ReLU, convolution and dropout.

    Attributes:
      features: maps of the result.
      size: height and width of the convolution's kernel.
      dropout: the rate.
      dtype: of the computation; parameters are float32.
      axis_name: the mapped axis over which BatchNorm takes its mean and variance.
    """

    features: int
    size: int
    dropout: float
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns `[B, H, W, features]` of a map `[B, H, W, C]`."""
        x = nn.relu(batch_norm(train, self.dtype, self.axis_name, "norm")(x))
        x = nn.Conv(
            self.features,
            (self.size, self.size),
            kernel_init=_HE_UNIFORM,
            dtype=self.dtype,
            conv_general_dilated=conv_general_dilated if self.size == 3 else None,
            name="conv",
        )(x)
        return Dropout(self.dropout, axis_name=self.axis_name)(x, deterministic=not train)


class TransitionUp(nn.Module):
    """Computes TU: `[B, h, w, C]` -> `[B, 2h, 2w, C]`, linear.

    Parameters: `bias` `[C]`, and `kernel` `[3, 3, C, C]` (row, column, in, out). To convert a kernel: from PyTorch's
    `ConvTranspose2d` by `weight.permute(2, 3, 0, 1)`, from flax's `nn.ConvTranspose` by reversing the first two axes.

    Attributes:
      dtype: of the computation; parameters are float32.
    """

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns `[B, 2h, 2w, C]` of a map `[B, h, w, C]`."""
        channels = x.shape[-1]
        kernel = self.param("kernel", _HE_UNIFORM, (3, 3, channels, channels), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        x, kernel, bias = x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype)
        # A band has a row more above; the rows that it gives are dropped.
        y = operator(
            Window(before=1, scale=2, each=((1, 0), (0, 0))),
            lambda x: conv_transpose_3x3(x, kernel)[:, 2:],
            lambda x: conv_transpose_3x3(x, kernel),
            x,
        )
        return y + bias.reshape(1, 1, 1, -1)


class FCDenseNet(Network):
    """FC-DenseNet, with one head; takes and returns any size.

    Dropout follows the convolution of every layer and of every TD (table 1).

    Attributes:
      variant: "103", "67" or "56" fixes the next three options to those of the published network (table 2 for "103"); ""
        fixes none.
      stem_features: maps of the first convolution.
      growth_rate: maps that a layer adds.
      layers_per_block: layers of the blocks on the way down, of the bottleneck, and of the blocks on the way up. The number of
        blocks is odd.
    """

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "": {},
        "103": {"stem_features": 48, "growth_rate": 16, "layers_per_block": (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)},
        "67": {"stem_features": 48, "growth_rate": 16, "layers_per_block": (5,) * 11},
        "56": {"stem_features": 48, "growth_rate": 12, "layers_per_block": (4,) * 11},
    }

    stem_features: int = 48
    growth_rate: int = 16
    layers_per_block: Sequence[int] = (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)
    dropout: float = 0.2

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError where an option has a value that the network cannot take."""
        super().check()
        for option, value in (("stem_features", self.stem_features), ("growth_rate", self.growth_rate)):
            CHANNELS.check(option, value)
        LAYERS.check("layers_per_block", self.layers_per_block)
        number = len(self.layers_per_block)
        if number % 2 == 0 or not 1 <= self.depth <= MOST_DEPTH:
            raise UserError(
                f"layers_per_block {self.layers_per_block!r}: give an odd number of values, 3 to {2 * MOST_DEPTH + 1}: one for "
                "each block down, one for the bottleneck, and one for each block up, such as (2, 3, 4, 3, 2)"
            )

    @property
    def depth(self) -> int:
        """The number of times that the map is halved."""
        return len(self.layers_per_block) // 2

    @property
    def multiple(self) -> int:
        """The step between the sizes that the network works on: 2^depth pixels."""
        return 2**self.depth

    @property
    def kernel_init(self) -> Callable:
        """The initializer of the convolutions' kernels: He uniform."""
        return _HE_UNIFORM

    def layer(self, name: str, features: int, size: int) -> DenseLayer:
        """Builds a layer, or the convolution of a TD, as the submodule `name`."""
        return DenseLayer(features, size, self.dropout, jnp.dtype(self.dtype), self.axis_name, name=name)

    def block(self, name: str, number: int, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Computes a dense block.

        Args:
          name: the layers are the submodules `name_0`, `name_1`, ...
          number: of layers.
          x: `[B, H, W, C]`.
          train: takes the statistics of the batch and drops activations.

        Returns:
          new(x) `[B, H, W, number * growth_rate]` and all(x) `[B, H, W, C + number * growth_rate]`.
        """
        maps = [x]
        for k in range(number):
            maps.append(self.layer(f"{name}_{k}", self.growth_rate, 3)(jnp.concatenate(join(maps), axis=-1), train))
        maps = join(maps)
        return jnp.concatenate(maps[1:], axis=-1), jnp.concatenate(maps, axis=-1)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array]:
        """Returns one head, logits `[B, H, W, K]` float32, of images `[B, H, W, C]`."""
        dtype = jnp.dtype(self.dtype)
        x = nn.Conv(
            self.stem_features,
            (3, 3),
            kernel_init=_HE_UNIFORM,
            dtype=dtype,
            conv_general_dilated=conv_general_dilated,
            name="first",
        )(self.pad_to_multiple(images))
        skips = []
        for i in range(self.depth):
            _, x = self.block(f"down_{i}", self.layers_per_block[i], x, train)
            skips.append(x)
            x = max_pool(self.layer(f"transition_down_{i}", x.shape[-1], 1)(x, train))
        new, _ = self.block("bottleneck", self.layers_per_block[self.depth], x, train)
        for i in reversed(range(self.depth)):
            up = TransitionUp(dtype, name=f"transition_up_{i}")(new)
            new, x = self.block(
                f"up_{i}", self.layers_per_block[-1 - i], jnp.concatenate(join([up, skips[i]]), axis=-1), train
            )
        return (self.head("head")(self.crop_to_input(x, images)),)
