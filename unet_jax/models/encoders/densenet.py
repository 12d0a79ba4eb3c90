"""DenseNet (Huang, Liu, van der Maaten, Weinberger: "Densely Connected Convolutional Networks", CVPR 2017).

    stem    = ReLU(BN(7x7 convolution of the image, stride 2)), level 1; blocks begin with its 3x3 maximum, stride 2
    layer   : x -> [x, 3x3(ReLU(BN(1x1(ReLU(BN(x))))))],  `growth_rate` new maps by way of 4 `growth_rate`
    level j = ReLU(BN(layers of the block))
    next block: 2x2 mean of a 1x1 convolution of level j to `compression` of its channels

Thus the map of a level is what its transition reads, or, after the last block, what the classifier reads (section 3, table 1).
The networks for CIFAR have a 3x3 convolution of stride 1 as their stem, whose maps are the first of level 0: their blocks are
levels 0 to 2. Submodules: `stem_conv`, `stem_norm`, `layer_LEVEL_K`, `norm_LEVEL` and `transition_LEVEL`, from this level to
the next.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.models.encoders.encoder import Encoder, Layers, max_pool_3x3, mean_pool
from unet_jax.models.operators import join


class DenseLayer(Layers):
    """Appends new maps to its input.

    Attributes:
      growth_rate: k, the number of new maps.
      bottleneck: True puts a 1x1 convolution to 4 k channels before the 3x3.
    """

    growth_rate: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns `[B, H, W, C + growth_rate]` of a map `[B, H, W, C]`."""
        y = x
        convolutions = [(self.growth_rate, 3)]
        if self.bottleneck:
            convolutions.insert(0, (4 * self.growth_rate, 1))
        for k, (features, size) in enumerate(convolutions):
            y = nn.relu(self.norm(f"norm_{k}", train)(y))
            y = self.conv(features, size, f"conv_{k}")(y)
        return jnp.concatenate(join([x, y]), axis=-1)


class DenseNet(Encoder):
    """DenseNet as an encoder: levels 1 to 5, where the stem is level 1; for small images, as CIFAR's, levels 0 to 2.

    Attributes:
      layers_per_block: the number of layers of each dense block.
      growth_rate: k, the new maps of a layer.
      features: channels of the stem.
      bottleneck: True puts a 1x1 convolution to 4 k channels before each 3x3.
      compression: the fraction of channels that a transition keeps.
      small_images: True makes the stem a 3x3 convolution without stride, pool and normalisation.
    """

    layers_per_block: Sequence[int] = (6, 12, 24, 16)
    growth_rate: int = 32
    features: int = 64
    bottleneck: bool = True
    compression: float = 0.5
    small_images: bool = False

    @property
    def first_level(self) -> int:
        """The level of the first block."""
        return 0 if self.small_images else 2

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the map of each level, shallow to deep."""
        widths, channels = {} if self.small_images else {1: self.features}, self.features
        for level, layers in enumerate(self.layers_per_block, self.first_level):
            widths[level] = channels + layers * self.growth_rate
            channels = self.reduced(widths[level])
        return widths

    def reduced(self, channels: int) -> int:
        """Returns the number of channels that a transition keeps."""
        return int(channels * self.compression)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """Returns the maps of `levels`, shallow to deep, of images `[B, H, W, C]`."""
        maps = []
        if self.small_images:
            x = self.conv(self.features, 3, "stem_conv")(images)
        else:
            x = self.conv(self.features, 7, "stem_conv", stride=2)(images)
            x = nn.relu(self.norm("stem_norm", train)(x))
            maps.append(x)
        for level in self.levels[len(maps) :]:
            if level > self.first_level:
                x = self.conv(self.reduced(x.shape[-1]), 1, f"transition_{level - 1}")(x)
                x = mean_pool(x)
            elif not self.small_images:
                x = max_pool_3x3(x)
            for k in range(self.layers_per_block[level - self.first_level]):
                x = DenseLayer(
                    self.dtype, self.axis_name, self.growth_rate, self.bottleneck, name=f"layer_{level}_{k}"
                )(x, train)
            x = nn.relu(self.norm(f"norm_{level}", train)(x))
            maps.append(x)
        return tuple(maps)
