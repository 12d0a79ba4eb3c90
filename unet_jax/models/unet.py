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

from unet_jax.errors import UserError
from unet_jax.models.blocks import Network, max_pool


def center_crop(x: jax.Array, height: int, width: int) -> jax.Array:
    """The middle of `[B, H, W, C]`."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]


class UNet(Network):
    """One head. Dropout stands at the end of the contracting path, after its two deepest levels, as in the release.

    Valid padding: each 3x3 convolution takes 2 pixels off at its level, together 12 * 2^depth - 8; a size is legal when
    every D sees an even one. With "bilinear" the outermost up-sampled pixels lean on repeated ones, so tiles join
    without a seam only with "transpose" and "nearest".
    """

    paddings = ("same", "valid")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array]:
        """`[B, H, W, C]` -> (logits `[B, output_size(H), output_size(W), K]` float32,)."""
        size = [self.output_size(n) for n in images.shape[1:3]] if images.ndim == 4 else []
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
        return (self.head("head")(x[:, : size[0], : size[1]]),)

    def enter(self, images: jax.Array) -> jax.Array:
        """As `Network.enter`, but a valid net takes the image as it is: `output_size` has refused illegal ones."""
        return images.astype(self.dtype) if self.padding == "valid" else super().enter(images)

    @property
    def margin(self) -> int:
        """How many pixels a valid net loses per axis, half on each side; 0 for a same one."""
        return 12 * self.multiple - 8 if self.padding == "valid" else 0

    def output_size(self, size: int) -> int:
        """The logits' height (width) for an image of this height (width), in pixels; UserError if that is not legal."""
        if self.padding == "valid" and self.input_size(size - self.margin) != size:
            above = self.input_size(size - self.margin)
            below = above - self.multiple
            near = f"{below} and {above}" if below >= self.input_size(1) else f"{above}"
            raise UserError(f"{size} pixels do not fit a valid U-Net of depth {self.depth}: the next legal: {near}.")
        return size - self.margin

    def input_size(self, size: int) -> int:
        """The smallest legal height (width) of an image whose logits are at least this high (wide), in pixels."""
        if self.padding == "same":
            return size
        # Logits of 2^depth t - 4 (2^depth - 1) pixels come from t pixels at the bottom: congruent to 4 modulo 2^depth.
        return self.margin + max(size, 1) + (4 - max(size, 1)) % self.multiple
