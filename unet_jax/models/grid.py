"""The base class of U-Net and U-Net++: widths by level, the arithmetic of valid sizes, and the modules of the grid."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.checks import sequence_of, whole
from unet_jax.errors import UserError
from unet_jax.models.blocks import Block, UpSample
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.network import CHANNELS, MOST_DEPTH, Network
from unet_jax.models.operators import center_crop, is_padded

WIDTHS = sequence_of(CHANNELS, example="(32, 64, 128)")


class Grid(Network):
    """Builds the parts of a grid of nodes whose maps are halved `depth` times.

    Attributes:
      widths: channels of each level, shallow to deep; the depth is one less than their number.
      padding: "same" takes any size and returns it. "valid" returns only pixels whose whole context is in the image: each
        3x3 convolution removes 2 pixels at its level, `margin` in total, and a size is legal where every D gets an even
        one. With "bilinear" the outermost up-sampled pixels depend on repeated ones. So tiles join without a seam only
        with "transpose" and "nearest".
      norm: the normalisation between convolution and ReLU.
      upsample: the method of U, see `blocks`.
      encoder: one of `ENCODERS`, which replaces the contracting path, the nodes x^{i,0}, as submodule `encoder`; "" for
        the grid's own nodes. Most encoders start at stride 2, so level 0 has no skip. `widths` then sets the decoder; its
        last entry must equal the encoder's channels at that level.
      remat: levels whose nodes are computed again in the backward pass, which saves memory and costs time; () for none.
        The nodes of an encoder are never recomputed. Parameters and results are the same.
    """

    widths: Sequence[int] = (64, 128, 256, 512, 1024)
    padding: str = "same"
    norm: str = "none"
    upsample: str = "transpose"
    encoder: str = ""
    remat: Sequence[int] = ()

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "padding": ("same", "valid"),
        "norm": ("none", "batch", "group", "instance"),
        "upsample": ("transpose", "bilinear", "nearest"),
        **Network.CHOICES,
    }

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError where an option has a value that the network cannot take."""
        super().check()
        WIDTHS.check("widths", self.widths)
        if not 1 <= self.depth <= MOST_DEPTH:
            raise UserError(f"widths {self.widths!r}: give 2 to {MOST_DEPTH + 1} of them, such as (32, 64, 128)")
        sequence_of(whole(0, self.depth, why="they are levels")).check("remat", self.remat)
        if self.encoder != "":
            self.check_encoder()

    @nn.nowrap
    def check_encoder(self) -> None:
        """Raises UserError where the encoder is unknown, or does not fit the other options."""
        if self.encoder not in tuple(ENCODERS):
            raise UserError(f"encoder {self.encoder!r} is unknown; choose one of '', {', '.join(ENCODERS)}")
        for option, value in (("variant", ""), ("padding", "same")):
            if getattr(self, option) != value:
                raise UserError(
                    f"encoder={self.encoder!r} cannot have {option}={getattr(self, option)!r}: choose {option}={value!r} "
                    "or encoder=''."
                )
        channels = ENCODERS[self.encoder](parent=None).widths
        if self.depth not in channels:
            deepest = max(channels)
            raise UserError(
                f"widths={self.widths!r}: the deepest level of encoder {self.encoder!r} is {deepest}; give 2 to {deepest + 1} "
                "widths."
            )
        if self.widths[-1] != channels[self.depth]:
            raise UserError(
                f"widths={self.widths!r}: encoder {self.encoder!r} has {channels[self.depth]} channels at level "
                f"{self.depth}, the deepest; give {channels[self.depth]} as the last width."
            )

    @nn.nowrap
    def without_remat(self) -> Self:
        """Returns the network without recomputation: same parameters and results, for use without a backward pass."""
        return self.clone(remat=()) if self.remat else self

    @property
    def depth(self) -> int:
        """The number of times that the map is halved."""
        return len(self.widths) - 1

    @property
    def multiple(self) -> int:
        """The step between the sizes that the grid works on: 2^depth pixels."""
        return 2**self.depth

    @property
    def margin(self) -> int:
        """The pixels that valid padding removes along each axis, half on each side; 0 with same padding."""
        return 12 * self.multiple - 8 if self.padding == "valid" else 0

    def output_size(self, size: int) -> int:
        """Returns the height (width) of the logits for an image of this height (width), in pixels.

        Raises:
          UserError: padding is valid and the size is not legal; the message gives the nearest legal ones.
        """
        if self.padding == "valid" and self.input_size(size - self.margin) != size:
            above = self.input_size(size - self.margin)
            below = above - self.multiple
            near = f"{below} and {above}" if below >= self.input_size(1) else f"{above}"
            raise UserError(
                f"{size} pixels do not fit the network with padding='valid' and depth {self.depth}; the nearest legal sizes: "
                f"{near}."
            )
        return size - self.margin

    def input_size(self, size: int) -> int:
        """Returns the smallest legal height (width) of an image whose logits are at least this high (wide), in pixels."""
        if self.padding == "same":
            return size
        # t pixels at the deepest level give logits of 2^depth t - 4 (2^depth - 1) pixels, which is 4 modulo 2^depth.
        return self.margin + max(size, 1) + (4 - max(size, 1)) % self.multiple

    def pad_to_multiple(self, images: jax.Array) -> jax.Array:
        """Pads as every network does; with valid padding appends nothing and raises UserError on sizes that are not legal."""
        if self.padding == "valid" and images.ndim == 4 and 0 not in images.shape and not is_padded():
            for size in images.shape[1:3]:
                self.output_size(size)
            return images.astype(self.dtype)
        return super().pad_to_multiple(images)

    def crop_to_input(self, x: jax.Array, images: jax.Array) -> jax.Array:
        """Crops as every network does; with valid padding returns the middle of the map."""
        if self.padding == "valid":
            height, width = images.shape[1:3]
            return center_crop(x, (height - self.margin, width - self.margin))
        return super().crop_to_input(x, images)

    @property
    def up_init(self) -> Callable:
        """The initializer of the kernels of U."""
        return nn.initializers.glorot_uniform()

    def node(self, name: str, level: int, dropout: tuple[float, float] = (0.0, 0.0)) -> Block:
        """Builds H of a level as the submodule `name`; `dropout` is the rate after its first and after its second ReLU."""
        # Argument 2, `train`, decides between two programs, so it is static.
        block = nn.remat(Block, static_argnums=2) if level in self.remat else Block
        return block(
            self.widths[level],
            self.padding,
            self.norm,
            dropout,
            jnp.dtype(self.dtype),
            self.axis_name,
            self.kernel_init,
            name=name,
        )

    def encode(self, image: jax.Array, train: bool, depth: int) -> dict[int, jax.Array]:
        """Returns the encoder's maps by level, down to level `depth`; empty without an encoder."""
        if not self.encoder:
            return {}
        dtype = jnp.dtype(self.dtype)
        encoder = ENCODERS[self.encoder](depth=depth, dtype=dtype, axis_name=self.axis_name, name="encoder")
        return dict(zip(encoder.levels, encoder(image, train), strict=True))

    def up(self, name: str, level: int) -> UpSample:
        """Builds U to the channels of a level as the submodule `name`."""
        return UpSample(self.widths[level], self.upsample, jnp.dtype(self.dtype), self.up_init, name=name)
