"""FCN (Long, Shelhamer, Darrell: "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015).

The trunk is VGG-16, whose fully connected layers have become convolutions (section 3.1): five blocks of 2, 2, 3, 3, 3
convolutions of 3x3, each block with a 2x2 maximum of stride 2 after it, then 7x7 (fc6) and 1x1 (fc7); a ReLU after every
convolution. S is a 1x1 convolution to the classes, U_f up-sampling by f. The skips add scores (section 4.2, figure 3):

    s_32 = S(fc7),      s_16 = U_2(s_32) + S(pool4),      s_8 = U_2(s_16) + S(pool3)
    logits = U_32(s_32), U_16(s_16) or U_8(s_8)           for stride 32, 16 or 8

Submodules are `conv_1_1` .. `conv_5_3`, `fc_6`, `fc_7`, `score_fr`, `score_pool4`, `score_pool3`. The names of stride
32 are a subset of those of 16, and these of those of 8. So each network may start from the one before
(`train.init_from`), as the authors trained. Score kernels are initialised with zeros, as the authors' are: a new score
changes nothing until it is trained. As published (default widths, 3 channels) the trunk has 134,260,544 parameters, and
with stride 8 and 21 classes the network has 134,362,751.

U_f is the authors' transposed convolution of 2f x 2f weights and stride f, without bias, fixed to linear interpolation. Its
weights are computed, so they are no parameters.

The image gets 100 zeros on each side, and conv_1_1 pads no more. Maxima are in ceil mode, as in the authors' framework: at
an odd size the last window holds what is left. Floor mode would leave images of less than 26 pixels without a single window
of fc6.

Positions are in pixels of the image. The map of the first convolution starts at -99, pixel j of pool k is the middle of its
window, fc6 starts at pixel 3 of pool5, and U_f puts pixel t of its source at f t + f - 1/2:

    pool3 8 j - 95.5    pool4 16 j - 91.5    fc7 32 j + 12.5
    U_2(s_32) 16 j - 11.5    U_2(s_16) 8 j - 23.5    U_32(s_32) j - 19    U_16(s_16) j - 27    U_8(s_8) j - 31

So the sums start at pixel 5 of pool4 and 9 of pool3, and the logits at 19, 27 or 31. These are the published crops. They are
exact at any size, because every window is counted from the top left. On the right and below there are enough pixels for any
image of 1 pixel or more.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.checks import is_whole, sequence_of, shown
from unet_jax.errors import UserError
from unet_jax.models.blocks import Dropout, max_2x2
from unet_jax.models.conv import conv_general_dilated, conv_of_any_size
from unet_jax.models.network import CHANNELS, Network
from unet_jax.models.operators import Window, crop, join, operator

# Of the five blocks, and of fc6 and fc7.
WIDTHS = sequence_of(CHANNELS, length=6, example="(8, 16, 32, 64, 64, 128)")
# Convolutions of each block.
BLOCKS = (2, 2, 3, 3, 3)
# Zeros on each side of the image.
BORDER = 100
# Of each skip: the name of its score, its pool, and the pixel of the pool where the sum starts.
SKIPS = (("score_pool4", 4, 5), ("score_pool3", 3, 9))
# By stride: the number of skips, and the pixel where the logits start.
STRIDES = {32: (0, 19), 16: (1, 27), 8: (2, 31)}


def ceil_pool(x: jax.Array) -> jax.Array:
    """Computes the 2x2 maximum with stride 2 in ceil mode, of a map that is nowhere negative.

    Zeros make an odd size even: after a ReLU they change no maximum.

    >>> ceil_pool(jnp.ones((1, 5, 8, 1))).shape
    (1, 3, 4, 1)

    Args:
      x: `[B, H, W, C]`.

    Returns:
      `[B, ceil(H / 2), ceil(W / 2), C]`.
    """
    columns = (0, x.shape[2] % 2)

    def pool(x, rows):
        return max_2x2(jnp.pad(x, ((0, 0), rows, columns, (0, 0))))

    window = Window(after=1, stride=2, end=1)
    return operator(window, lambda x: pool(x, (0, 0)), lambda x: pool(x, (0, x.shape[1] % 2)), x)


def add_border(x: jax.Array) -> jax.Array:
    """Puts `BORDER` zeros on each side of a map: `[B, H, W, C]` -> `[B, H + 200, W + 200, C]`."""

    def pad(x, rows):
        return jnp.pad(x, ((0, 0), (rows, rows), (BORDER, BORDER), (0, 0)))

    window = Window(BORDER, -BORDER, end=BORDER)
    return operator(window, lambda x: pad(x, 0), lambda x: pad(x, BORDER), x)


def upsample(x: jax.Array, factor: int) -> jax.Array:
    """Computes U_f on each channel by itself, with zeros beyond the border.

    Along each axis U_f is the transposed convolution with the weights 1 - |a - (f - 1/2)| / f, a = 0 .. 2f - 1. Each pixel
    of the result reads two of them, whatever f is:

        y[f q + r] = w_r x[q] + (1 - w_r) x[q-1],    w_r = (r + 1/2) / f

    Args:
      x: `[B, h, w, K]`.
      factor: f.

    Returns:
      `[B, f (h + 1), f (w + 1), K]`.
    """

    def interpolate(x):
        for axis in (1, 2):
            ends = [(0, 0)] * 4
            weights = ((jnp.arange(factor, dtype=x.dtype) + 0.5) / factor).reshape(
                [-1 if k == axis + 1 else 1 for k in range(5)]
            )
            ends[axis] = (0, 1)
            here = jnp.expand_dims(jnp.pad(x, ends), axis + 1)
            ends[axis] = (1, 0)
            before = jnp.expand_dims(jnp.pad(x, ends), axis + 1)
            y = weights * here + (1 - weights) * before
            x = y.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
        return x

    # A band has a row more above. The rows that it gives, and those below the last row, are dropped.
    window = Window(before=1, scale=factor, end=1)
    return operator(window, lambda x: interpolate(x)[:, factor:-factor], interpolate, x)


class FCN(Network):
    """FCN, with one head; takes and returns any size.

    Dropout follows the ReLU of fc6 and that of fc7.

    Attributes:
      stride: the stride of the finest map that is scored: 32, 16 or 8.
      widths: channels of the five blocks, and of fc6 and fc7.
    """

    stride: int = 8
    widths: Sequence[int] = (64, 128, 256, 512, 512, 4096)
    dropout: float = 0.5

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError where an option has a value that the network cannot take."""
        super().check()
        if not is_whole(self.stride) or self.stride not in STRIDES:
            raise UserError(f"stride {shown(self.stride)} is unknown; choose one of {', '.join(map(str, STRIDES))}")
        WIDTHS.check("widths", self.widths)

    @property
    def multiple(self) -> int:
        """1: the zeros around the image leave room for every window."""
        return 1

    def crop_to_input(self, x: jax.Array, images: jax.Array) -> jax.Array:
        """Returns the pixels of the up-sampled scores that lie on the image."""
        start = STRIDES[self.stride][1]
        return crop(x, (start, start), (images.shape[1], images.shape[2]))

    def conv(self, name: str, features: int, size: int, padding: str) -> nn.Conv:
        """Builds a convolution of the trunk, `size` x `size`, as the submodule `name`."""
        return nn.Conv(
            features,
            (size, size),
            padding=padding,
            kernel_init=nn.initializers.he_normal(),
            dtype=jnp.dtype(self.dtype),
            conv_general_dilated=conv_general_dilated if size == 3 else conv_of_any_size,
            name=name,
        )

    def score(self, name: str) -> nn.Conv:
        """Builds S as the submodule `name`; at least float32, as every network's head."""
        dtype = jnp.promote_types(self.dtype, jnp.float32)
        return nn.Conv(self.num_classes, (1, 1), kernel_init=nn.initializers.zeros, dtype=dtype, name=name)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array]:
        """Returns one head, logits `[B, H, W, K]` float32, of images `[B, H, W, C]`."""
        x = add_border(self.pad_to_multiple(images))
        pools = {}
        for i, number in enumerate(BLOCKS, 1):
            for j in range(1, number + 1):
                padding = "VALID" if (i, j) == (1, 1) else "SAME"
                x = nn.relu(self.conv(f"conv_{i}_{j}", self.widths[i - 1], 3, padding)(x))
            x = pools[i] = ceil_pool(x)
        for name, size in (("fc_6", 7), ("fc_7", 1)):
            x = nn.relu(self.conv(name, self.widths[-1], size, "VALID")(x))
            x = Dropout(self.dropout, axis_name=self.axis_name)(x, deterministic=not train)
        scores = self.score("score_fr")(x)
        for name, pool, start in SKIPS[: STRIDES[self.stride][0]]:
            up = upsample(scores, 2)
            up, skip = join([up, crop(pools[pool], (start, start), (up.shape[1], up.shape[2]))])
            scores = up + self.score(name)(skip)
        return (self.crop_to_input(upsample(scores, self.stride), images),)
