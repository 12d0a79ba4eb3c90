"""VGG (Simonyan, Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015).

    level 0 = 3x3 convolutions of the image, a ReLU after each
    level j = 3x3 convolutions of the 2x2 maximum of level j-1,             j = 1 .. 4

This is configuration D of the paper's table 1. Unlike the other encoders it has a map at full resolution, so the last
up-sampling has a skip. The maximum after level 4 feeds the classifier alone and is left out. Submodules: `conv_LEVEL_K` and,
with normalisation, `norm_LEVEL_K`.
"""

from collections.abc import Sequence
from typing import ClassVar

import jax
from flax import linen as nn

from unet_jax.models.blocks import max_pool
from unet_jax.models.encoders.encoder import Encoder


class VGG(Encoder):
    """VGG as an encoder: levels 0 to 4.

    Attributes:
      convs: the number of convolutions of each level.
      features: the channels of the convolutions of each level.
      batch_norm: True puts BatchNorm between convolution and ReLU; the convolution keeps its bias, as in torchvision.
    """

    convs: Sequence[int] = (2, 2, 3, 3, 3)
    features: Sequence[int] = (64, 128, 256, 512, 512)
    batch_norm: bool = False

    FIRST: ClassVar[str] = "conv_0_0"

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the map of each level, shallow to deep."""
        return dict(enumerate(self.features))

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """Returns the maps of `levels`, shallow to deep, of images `[B, H, W, C]`."""
        x, maps = images, []
        for level in self.levels:
            x = max_pool(x) if level else x
            for k in range(self.convs[level]):
                x = self.conv(self.features[level], 3, f"conv_{level}_{k}", bias=True)(x)
                x = nn.relu(self.norm(f"norm_{level}_{k}", train)(x) if self.batch_norm else x)
            maps.append(x)
        return tuple(maps)
