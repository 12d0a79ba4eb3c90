"""What every network shares: its knobs, their checks, the arithmetic of sizes, and the modules of its grid by name."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.errors import UserError
from unet_jax.models.blocks import Block, UpSample, center_crop

CHOICES = {
    "padding": ("same", "valid"),
    "norm": ("none", "batch", "group", "instance"),
    "upsample": ("transpose", "bilinear", "nearest"),
    "dtype": ("float32", "bfloat16"),
    "activation": ("softmax", "sigmoid"),
}


class Network(nn.Module):
    """A grid of nodes whose maps are halved `depth` times, from images to the logits of one head or more.

    Attributes:
      num_classes: K, the channels of the logits; 1 only with sigmoid.
      widths: channels of each level, shallow to deep; the depth is one less than their number.
      padding: "same" takes any size and returns it; "valid" returns only pixels whose whole context was seen. Each 3x3
        convolution then takes 2 pixels off at its level, `margin` together, and a size is legal when every D sees an
        even one. With "bilinear" the outermost up-sampled pixels lean on repeated ones, so tiles join without a seam
        only with "transpose" and "nearest".
      norm: normalisation between convolution and ReLU.
      upsample: U, see `blocks`.
      dropout: the share of activations set to 0 in training; where, the network's docstring tells.
      dtype: of the computation; parameters, statistics and logits are float32 always.
      activation: what turns logits into probabilities; not applied here, but used by loss, metrics and prediction.
      axis_name: the mapped axis over which BatchNorm takes its mean and variance.
    """

    num_classes: int
    widths: Sequence[int] = (64, 128, 256, 512, 1024)
    padding: str = "same"
    norm: str = "none"
    upsample: str = "transpose"
    dropout: float = 0.0
    dtype: str = "float32"
    activation: str = "softmax"
    axis_name: str | None = None

    def __post_init__(self):
        if isinstance(self.widths, Sequence) and not isinstance(self.widths, str):
            self.widths = tuple(self.widths)  # a list from a config is not hashable, as jit wants static modules
        self.check()
        super().__post_init__()

    @nn.nowrap
    def check(self):
        """Raises UserError where a knob has a value that the network cannot take."""
        for knob, allowed in CHOICES.items():
            if getattr(self, knob) not in allowed:
                kind = type(self).__name__
                raise UserError(f"{knob}={getattr(self, knob)!r} is not for {kind}: choose from {', '.join(allowed)}.")
        whole = isinstance(self.widths, tuple) and all(is_count(width, 1) for width in self.widths)
        if not whole or len(self.widths) < 2:
            raise UserError(f"widths={self.widths!r}: give two or more positive whole numbers, such as (32, 64, 128).")
        if not is_count(self.num_classes, 1):
            raise UserError(f"num_classes={self.num_classes!r}: give a whole number from 1.")
        if self.num_classes == 1 and self.activation == "softmax":
            raise UserError("num_classes=1 with activation='softmax' is 1 everywhere: give activation='sigmoid'.")
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout!r}: give a number from 0 to less than 1.")

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
        """The logits' height (width) for an image of this height (width), in pixels; UserError if that is not legal."""
        if self.padding == "valid" and self.input_size(size - self.margin) != size:
            above = self.input_size(size - self.margin)
            below = above - self.multiple
            near = f"{below} and {above}" if below >= self.input_size(1) else f"{above}"
            kind = type(self).__name__
            raise UserError(f"{size} pixels do not fit a valid {kind} of depth {self.depth}: the next legal: {near}.")
        return size - self.margin

    def input_size(self, size: int) -> int:
        """The smallest legal height (width) of an image whose logits are at least this high (wide), in pixels."""
        if self.padding == "same":
            return size
        # Logits of 2^depth t - 4 (2^depth - 1) pixels come from t pixels at the bottom: congruent to 4 modulo 2^depth.
        return self.margin + max(size, 1) + (4 - max(size, 1)) % self.multiple

    def enter(self, images: jax.Array) -> jax.Array:
        """Checks `[B, H, W, C]`, casts it, and for a same net repeats its last row and column up to a `multiple`.

        Repeated pixels make no edge that is not in the image, as zeros would. They are appended at the end only, so
        pixel (0, 0) stays where it is.
        """
        if images.ndim != 4 or 0 in images.shape:
            raise UserError(f"images of shape {images.shape}: give [batch, height, width, channels], none of them 0.")
        images = images.astype(self.dtype)
        if self.padding == "valid":
            for size in images.shape[1:3]:
                self.output_size(size)  # refuses what cannot be halved
            return images
        ends = [(0, -size % self.multiple) for size in images.shape[1:3]]
        return jnp.pad(images, ((0, 0), *ends, (0, 0)), mode="edge")

    def leave(self, x: jax.Array, images: jax.Array) -> jax.Array:
        """The pixels of a level-0 map that have logits: a same net's without those appended, a valid net's middle."""
        height, width = (self.output_size(size) for size in images.shape[1:3])
        return center_crop(x, height, width) if self.padding == "valid" else x[:, :height, :width]

    def node(self, name: str, level: int, dropout: float) -> Block:
        """H of this level under this name."""
        return Block(
            self.widths[level], self.padding, self.norm, dropout, jnp.dtype(self.dtype), self.axis_name, name=name
        )

    def up(self, name: str, level: int) -> UpSample:
        """U from the level below to this one under this name."""
        return UpSample(self.widths[level], self.upsample, jnp.dtype(self.dtype), name=name)

    def head(self, name: str) -> nn.Conv:
        """The 1x1 convolution to the logits, in float32 so that bfloat16 ends before the loss."""
        initialise = nn.initializers.he_normal()
        return nn.Conv(self.num_classes, (1, 1), kernel_init=initialise, dtype=jnp.float32, name=name)


def is_count(value: Any, least: int) -> bool:
    """Whether the value is a whole number, not a bool, from `least` up."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
