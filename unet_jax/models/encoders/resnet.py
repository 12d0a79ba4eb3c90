"""ResNet (He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016), as torchvision has it.

    level 1 = ReLU(BN(7x7 convolution of the image, stride 2))
    level 2 = residual blocks of the 3x3 maximum of level 1, stride 2
    level j = residual blocks of level j-1, the first with stride 2,        j = 3 .. 5
    block(x) = ReLU(F(x) + x), the x of the sum by a 1x1 convolution and BN where F changes its shape

F is two 3x3 convolutions or, as a bottleneck, 1x1, 3x3 and 1x1, which are four times as wide; its stride is that of the
first 3x3 (the paper's bottleneck has it in the 1x1 before). Modules: `stem_conv`, `stem_norm`, `block_LEVEL_K`.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn

from unet_jax.models.encoders.encoder import Encoder, Layers, max_pool_3x3


class ResidualBlock(Layers):
    """Computes one block: `[B, H, W, C]` -> `[B, H / stride, W / stride, features]`, with a bottleneck `4 features`."""

    features: int
    stride: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        n, stride = self.features, self.stride
        plain, narrow = [(n, 3, stride), (n, 3, 1)], [(n, 1, 1), (n, 3, stride), (4 * n, 1, 1)]
        y = x
        for k, (features, size, step) in enumerate(narrow if self.bottleneck else plain):
            y = self.conv(features, size, f"conv_{k}", stride=step)(nn.relu(y) if k else y)
            y = self.norm(f"norm_{k}", train)(y)
        if x.shape != y.shape:
            x = self.conv(y.shape[-1], 1, "shortcut_conv", stride=stride)(x)
            x = self.norm("shortcut_norm", train)(x)
        return nn.relu(x + y)


class ResNet(Encoder):
    """Levels 1 to 5; the stem is level 1.

    Attributes:
      blocks: residual blocks of each level from 2.
      bottleneck: blocks of three convolutions.
      features: channels of the stem and of the first level's 3x3 convolutions, doubled from level to level.
    """

    blocks: Sequence[int] = (3, 4, 6, 3)
    bottleneck: bool = False
    features: int = 64

    @property
    def widths(self) -> dict[int, int]:
        expansion = 4 if self.bottleneck else 1
        return {1: self.features} | {j: expansion * self.features << j - 2 for j in range(2, len(self.blocks) + 2)}

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, ...]:
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
