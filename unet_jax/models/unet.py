"""U-Net (Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015).

    enc_0 = H(image)                    enc_i = H(D(enc_{i-1})),                        i = 1 .. depth
    dec_depth = enc_depth               dec_i = H([U(dec_{i+1}), crop(enc_i)]),         i = depth-1 .. 0
    logits = 1x1 convolution of dec_0

H, D and U are those of `blocks` (the paper's section 2 and figure 1). The submodules have these names, and U towards level i
is `up_i`. The paper does not give the order of the concatenation; up-sampled first is the order of the authors' released
network. Variants, with their parameters for one channel and two classes:

    paper    valid padding, no normalisation, widths 64-1024, Gaussian initialisation; 572 -> 388 pixels  31,030,658
    release  the network that the authors released (phseg_v5), which differs from their paper: a ReLU after U too,
             the last U 128 wide, dropout 0.5, Xavier initialisation (uniform, bound sqrt(3 / fan-in))    31,100,354
    same     the paper's with zeros beyond the border: logits have the size of the image                  31,030,658
    wide     the wide U-Net of the U-Net++ paper (DLMIA 2018), widths 35-560, same padding; for one class  9,282,246
             (the paper prints 9.13 M; the number here is that of its authors' code)
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
from flax import linen as nn

from unet_jax.models.blocks import Dropout, max_pool
from unet_jax.models.grid import Grid
from unet_jax.models.operators import center_crop

# A Gaussian of std sqrt(2 / N), where N values give one output of the layer (section 3).
_GAUSSIAN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
# Each output of U reads one pixel, because the windows of U do not overlap.
_UP_GAUSSIAN = nn.initializers.variance_scaling(2.0, "fan_in", "normal", batch_axis=(0, 1))
# Caffe's "xavier".
_XAVIER = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
_PUBLISHED = {"norm": "none", "upsample": "transpose"}
_VALID = {**_PUBLISHED, "padding": "valid", "widths": (64, 128, 256, 512, 1024)}


class UNet(Grid):
    """U-Net, with one head.

    Dropout is at the end of the contracting path (section 3.1), once after each of its two deepest levels, as in the
    release. The skip of the upper level is taken after its dropout. The paper gives no rate, so variant "paper" takes
    any. With an encoder, dropout is on the two deepest maps that the decoder reads.
    """

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "": {},
        "paper": _VALID,
        "release": {**_VALID, "dropout": 0.5},
        "same": {**_VALID, "padding": "same"},
        "wide": {**_PUBLISHED, "padding": "same", "widths": (35, 70, 140, 280, 560)},
    }

    @property
    def kernel_init(self) -> Callable:
        """The initializer of the convolutions' kernels; the variant's."""
        return {"paper": _GAUSSIAN, "same": _GAUSSIAN, "release": _XAVIER}.get(self.variant, super().kernel_init)

    @property
    def up_init(self) -> Callable:
        """The initializer of the kernels of U; the variant's."""
        return {"paper": _UP_GAUSSIAN, "same": _UP_GAUSSIAN, "release": _XAVIER}.get(self.variant, super().up_init)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array]:
        """Returns one head, logits `[B, output_size(H), output_size(W), K]` float32, of images `[B, H, W, C]`."""
        x = self.pad_to_multiple(images)
        skips = self.encode(x, train, self.depth)
        for i in range(self.depth + 1):
            dropout = self.dropout if i >= self.depth - 1 else 0.0
            if not self.encoder:
                skips[i] = x = self.node(f"enc_{i}", i, (0.0, dropout))([max_pool(x) if i else x], train)
            elif i in skips:
                skips[i] = x = Dropout(dropout, axis_name=self.axis_name)(skips[i], deterministic=not train)
        for i in reversed(range(self.depth)):
            release = self.variant == "release"
            up = self.up(f"up_{i}", 1 if release and i == 0 else i)(x)
            up = nn.relu(up) if release else up
            skip = [center_crop(skips[i], (up.shape[1], up.shape[2]))] if i in skips else []
            x = self.node(f"dec_{i}", i)([up, *skip], train)
        return (self.head("head")(self.crop_to_input(x, images)),)
