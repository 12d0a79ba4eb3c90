"""U-Net (Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015).

    enc_0 = H(image)                    enc_i = H(D(enc_{i-1})),                        i = 1 .. depth
    dec_depth = enc_depth               dec_i = H([U(dec_{i+1}), crop(enc_i)]),         i = depth-1 .. 0
    logits = 1x1 convolution of dec_0

H, D and U as in `blocks`; the submodules bear these names, U towards level i is `up_i`. The paper does not tell the
order of the concatenation; up-sampled first is that of the authors' released network. As published (`padding="valid"`,
`norm="none"`, widths 64-1024) it has 31,030,658 parameters for one channel and two classes, and maps 572 to 388 pixels.
"""

import jax
from flax import linen as nn

from unet_jax.models.blocks import center_crop, max_pool
from unet_jax.models.grid import Grid


class UNet(Grid):
    """One head. Dropout stands at the end of the contracting path, after its two deepest levels, as in the release."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array]:
        """`[B, H, W, C]` -> (logits `[B, output_size(H), output_size(W), K]` float32,)."""
        x = self.enter(images)
        skips = []
        for i in range(self.depth + 1):
            dropout = self.dropout if i >= self.depth - 1 else 0.0
            x = self.node(f"enc_{i}", i, dropout)([max_pool(x) if i else x], train)
            skips.append(x)
        for i in reversed(range(self.depth)):
            up = self.up(f"up_{i}", i)(x)
            skip = center_crop(skips[i], *up.shape[1:3])
            x = self.node(f"dec_{i}", i, 0.0)([up, skip], train)
        return (self.head("head")(self.leave(x, images)),)
