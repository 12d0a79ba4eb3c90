"""What U-Net and U-Net++ share: widths by level, the arithmetic of valid sizes, and the modules of the grid by name."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.errors import UserError
from unet_jax.models.blocks import Block, UpSample, center_crop
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.network import Network, are_counts, is_count


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
      encoder: one of `ENCODERS`, whose map of level i stands in for the node that reads the image alone, x^{i,0}, as
        submodule `encoder`; "" for nodes of the grid's own. Where it has no map, at level 0 of most, nothing reads one.
        `widths` are then those of the other nodes, and the last, of the deepest level, must be the encoder's own.
      remat: levels whose nodes keep only what they read and are computed again in the backward pass, which saves memory
        and costs time; () for none. An encoder's own nodes are not among them. Parameters and results are the same.
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
    def check(self):
        super().check()
        if not are_counts(self.widths) or len(self.widths) < 2:
            raise UserError(f"widths={self.widths!r}: give two or more positive whole numbers, such as (32, 64, 128).")
        if not isinstance(self.remat, tuple) or not all(is_count(i, 0) and i <= self.depth for i in self.remat):
            raise UserError(
                f"remat={self.remat!r}: give some of the levels 0 to {self.depth}, such as (0, 1); () for none."
            )
        if self.encoder != "":
            self.check_encoder()

    @nn.nowrap
    def check_encoder(self):
        """Raises UserError where the encoder is none of ours, or does not fit the other knobs."""
        if self.encoder not in tuple(ENCODERS):
            raise UserError(f"encoder={self.encoder!r}: choose from '', {', '.join(ENCODERS)}.")
        for knob, value in (("variant", ""), ("padding", "same")):
            if getattr(self, knob) != value:
                raise UserError(
                    f"{knob}={getattr(self, knob)!r} has no encoder: choose {knob}={value!r} or encoder=''."
                )
        own = ENCODERS[self.encoder](parent=None).widths
        if self.depth not in own:
            raise UserError(
                f"widths={self.widths!r}: encoder {self.encoder!r} has levels to {max(own)}, give 2 to {max(own) + 1} widths."
            )
        if self.widths[-1] != own[self.depth]:
            raise UserError(
                f"widths={self.widths!r}: level {self.depth}, the deepest, is encoder {self.encoder!r}'s own; give "
                f"{own[self.depth]} as the last."
            )

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

    @property
    def up_init(self) -> Callable:
        """How the kernels of U start."""
        return nn.initializers.glorot_uniform()

    def node(self, name: str, level: int, dropout: tuple[float, float] = (0.0, 0.0)) -> Block:
        """H of this level under this name; `dropout` after its first and its second ReLU."""
        block = nn.remat(Block, static_argnums=2) if level in self.remat else Block  # `train` picks a branch
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
        """The encoder's maps by level, down to this depth; empty without one."""
        if not self.encoder:
            return {}
        dtype = jnp.dtype(self.dtype)
        encoder = ENCODERS[self.encoder](depth=depth, dtype=dtype, axis_name=self.axis_name, name="encoder")
        return dict(zip(encoder.levels, encoder(image, train), strict=True))

    def up(self, name: str, level: int) -> UpSample:
        """U to the channels of this level under this name."""
        return UpSample(self.widths[level], self.upsample, jnp.dtype(self.dtype), self.up_init, name=name)
