"""ResNet (He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016), as torchvision has it.

    level 1 = ReLU(BN(7x7 convolution of the image, stride 2))
    level 2 = residual blocks of the 3x3 maximum of level 1, stride 2
    level j = residual blocks of level j-1, the first with stride 2,        j = 3 .. 5
    block(x) = ReLU(F(x) + P(x))

These are the paper's table 1 and its equations 1 and 2. F is two 3x3 convolutions, or, as a bottleneck, convolutions of 1x1,
3x3 and 1x1, the last of them four times as wide. The first 3x3 has the stride; the paper's bottleneck has it in the 1x1 before.
P is the identity, or a 1x1 convolution and BN where F changes the shape. Submodules: `stem_conv`, `stem_norm`,
`block_LEVEL_K`.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn

from unet_jax.models.encoders.encoder import Encoder, Layers, max_pool_3x3
from unet_jax.models.operators import join


class ResidualBlock(Layers):
    """Computes one block.

    Attributes:
      features: channels of the 3x3 convolutions.
      stride: 1 or 2.
      bottleneck: True computes three convolutions, False two.
    """

    features: int
    stride: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns `[B, H / stride, W / stride, features]` of `[B, H, W, C]`; a bottleneck has `4 features` channels."""
        n, stride = self.features, self.stride
        plain, narrow = [(n, 3, stride), (n, 3, 1)], [(n, 1, 1), (n, 3, stride), (4 * n, 1, 1)]
        y = x
        for k, (features, size, step) in enumerate(narrow if self.bottleneck else plain):
            y = self.conv(features, size, f"conv_{k}", stride=step)(nn.relu(y) if k else y)
            y = self.norm(f"norm_{k}", train)(y)
        if x.shape != y.shape:
            x = self.conv(y.shape[-1], 1, "shortcut_conv", stride=stride)(x)
            x = self.norm("shortcut_norm", train)(x)
        x, y = join([x, y])
        return nn.relu(x + y)


class ResNet(Encoder):
    """ResNet as an encoder: levels 1 to 5, where the stem is level 1.

    Attributes:
      blocks: the number of residual blocks of each level from 2.
      bottleneck: True makes blocks of three convolutions.
      features: channels of the stem, and of the 3x3 convolutions of level 2; they double from level to level.
    """

    blocks: Sequence[int] = (3, 4, 6, 3)
    bottleneck: bool = False
    features: int = 64

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the map of each level, shallow to deep."""
        expansion = 4 if self.bottleneck else 1
        return {1: self.features} | {j: expansion * self.features << j - 2 for j in range(2, len(self.blocks) + 2)}

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """Returns the maps of `levels`, shallow to deep, of images `[B, H, W, C]`."""
        x = self.conv(self.features, 7, "stem_conv", stride=2)(images)
        x = nn.relu(self.norm("stem_norm", train)(x))
        maps = [x]
        for level in self.levels[1:]:
            x = max_pool_3x3(x) if level == 2 else x
            for k in range(self.blocks[level - 2]):
                stride = 2 if level > 2 and k == 0 else 1
                block = ResidualBlock(
                    self.dtype,
                    self.axis_name,
                    self.features << level - 2,
                    stride,
                    self.bottleneck,
                    name=f"block_{level}_{k}",
                )
                x = block(x, train)
            maps.append(x)
        return tuple(maps)
