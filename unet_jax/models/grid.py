"""What U-Net and U-Net++ share: widths by level, the arithmetic of valid sizes, and the modules of the grid by name."""

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.errors import UserError
from unet_jax.models.blocks import Block, UpSample, center_crop
from unet_jax.models.network import Network, are_counts


class Grid(Network):
    """A grid of nodes whose maps are halved `depth` times.

    Attributes:
      widths: channels of each level, shallow to deep; the depth is one less than their number.
      padding: "same" takes any size and returns it; "valid" returns only pixels whose whole context was seen. Each 3x3
        convolution then takes 2 pixels off at its level, `margin` together, and a size is legal when every D sees an
        even one. With "bilinear" the outermost up-sampled pixels lean on repeated ones, so tiles join without a seam
        only with "transpose" and "nearest".
      norm: normalisation between convolution and ReLU.
      upsample: U, see `blocks`.
    """

    widths: Sequence[int] = (64, 128, 256, 512, 1024)
    padding: str = "same"
    norm: str = "none"
    upsample: str = "transpose"

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "padding": ("same", "valid"),
        "norm": ("none", "batch", "group", "instance"),
        "upsample": ("transpose", "bilinear", "nearest"),
        **Network.CHOICES,
    }

    @nn.nowrap
    def check(self):
        super().check()
        if not are_counts(self.widths) or len(self.widths) < 2:
            raise UserError(f"widths={self.widths!r}: give two or more positive whole numbers, such as (32, 64, 128).")

    @property
    def depth(self) -> int:
        """How many times the map is halved."""
        return len(self.widths) - 1

    @property
    def multiple(self) -> int:
        """The step between the sizes that the grid works on: 2^depth pixels."""
        return 2**self.depth

    @property
    def margin(self) -> int:
        """How many pixels a valid net loses per axis, half on each side; 0 for a same one."""
        return 12 * self.multiple - 8 if self.padding == "valid" else 0

    def output_size(self, size: int) -> int:
        if self.padding == "valid" and self.input_size(size - self.margin) != size:
            above = self.input_size(size - self.margin)
            below = above - self.multiple
            near = f"{below} and {above}" if below >= self.input_size(1) else f"{above}"
            kind = type(self).__name__
            raise UserError(f"{size} pixels do not fit a valid {kind} of depth {self.depth}: the next legal: {near}.")
        return size - self.margin

    def input_size(self, size: int) -> int:
        if self.padding == "same":
            return size
        # Logits of 2^depth t - 4 (2^depth - 1) pixels come from t pixels at the bottom: congruent to 4 modulo 2^depth.
        return self.margin + max(size, 1) + (4 - max(size, 1)) % self.multiple

    def enter(self, images: jax.Array) -> jax.Array:
        """As every network's; a valid one appends nothing, and refuses sizes that cannot be halved."""
        if self.padding == "valid" and images.ndim == 4 and 0 not in images.shape:
            for size in images.shape[1:3]:
                self.output_size(size)
            return images.astype(self.dtype)
        return super().enter(images)

    def leave(self, x: jax.Array, images: jax.Array) -> jax.Array:
        """As every network's; of a valid net's map the middle."""
        if self.padding == "valid":
            return center_crop(x, *(self.output_size(size) for size in images.shape[1:3]))
        return super().leave(x, images)

    def node(self, name: str, level: int, dropout: float) -> Block:
        """H of this level under this name."""
        return Block(
            self.widths[level], self.padding, self.norm, dropout, jnp.dtype(self.dtype), self.axis_name, name=name
        )

    def up(self, name: str, level: int) -> UpSample:
        """U from the level below to this one under this name."""
        return UpSample(self.widths[level], self.upsample, jnp.dtype(self.dtype), name=name)
