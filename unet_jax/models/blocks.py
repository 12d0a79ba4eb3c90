"""What the networks are made of: their knobs, and the operators H (node), D (pool), U (up-sampling) and the head.

Forms are chosen to be fast on a CPU and deterministic on a GPU, gradients included: no select-and-scatter, no gather.

- D: 2x2 maximum, stride 2, by reshape. Where pixels tie, they share the gradient.
- U: doubles height and width and brings the channels to those of the level above, without an activation.
  "transpose" is the papers' 2x2 transposed convolution with stride 2: as the windows do not overlap, one matrix product
  followed by depth-to-space. "bilinear" and "nearest" resize and reduce channels by a 1x1 convolution: the 3x3
  convolutions of the node that follows look at the neighbourhood already. A 1x1 convolution commutes with
  interpolation (its weights sum to one), so it runs first, on a quarter of the pixels, with the same result.
- H: (3x3 convolution, normalisation, ReLU, dropout) twice, over the concatenation of its sources.

Initialisation: He normal for the convolutions, std sqrt(2 / fan-in) (Ronneberger et al. 2015, section 3; Zhou et al.
2018), Glorot uniform for up-sampling, which is linear (Zhou et al.'s code); both papers' biases start at 0.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.errors import UserError

CHOICES = {
    "norm": ("none", "batch", "group", "instance"),
    "upsample": ("transpose", "bilinear", "nearest"),
    "dtype": ("float32", "bfloat16"),
    "activation": ("softmax", "sigmoid"),
}


def max_pool(x: jax.Array) -> jax.Array:
    """D: the 2x2 maximum with stride 2; `[B, 2h, 2w, C]` -> `[B, h, w, C]`."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def nearest(x: jax.Array) -> jax.Array:
    """Each pixel four times; `[B, h, w, C]` -> `[B, 2h, 2w, C]`."""
    batch, height, width, channels = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return wide.reshape(batch, 2 * height, 2 * width, channels)


def bilinear(x: jax.Array) -> jax.Array:
    """Linear interpolation with half-pixel centres, edges repeated; `[B, h, w, C]` -> `[B, 2h, 2w, C]`.

    Along an axis y[2i] = (x[i-1] + 3 x[i]) / 4 and y[2i+1] = (3 x[i] + x[i+1]) / 4: two shifts instead of a gather.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        first, last = jax.lax.slice_in_dim(x, 0, 1, axis=axis), jax.lax.slice_in_dim(x, size - 1, size, axis=axis)
        before = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)], axis)
        after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, size, axis=axis), last], axis)
        pair = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


def transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """2x2 transposed convolution with stride 2: y[2i+a, 2j+b, o] = sum_c x[i, j, c] kernel[a, b, c, o].

    `[B, h, w, C]`, `[2, 2, C, O]` -> `[B, 2h, 2w, O]`.
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    y = x @ kernel.transpose(2, 0, 1, 3).reshape(channels, 4 * features)
    y = y.reshape(batch, height, width, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, 2 * height, 2 * width, features)


class UpSample(nn.Module):
    """U: `[B, h, w, C]` -> `[B, 2h, 2w, features]`, linear.

    Parameters: `bias` `[features]` and `kernel`, for "transpose" `[2, 2, C, features]` (row, column, in, out; from
    PyTorch's `ConvTranspose2d` by `weight.permute(2, 3, 0, 1)`, from Keras' `Conv2DTranspose` by swapping the last two
    axes, from flax's `nn.ConvTranspose` by reversing the first two), else `[C, features]`.
    """

    features: int
    method: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        window = (2, 2) if self.method == "transpose" else ()
        shape = (*window, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype)
        if self.method == "transpose":
            x = transposed(x, kernel)
        else:
            x = {"bilinear": bilinear, "nearest": nearest}[self.method](x @ kernel)
        return x + bias.reshape(1, 1, 1, -1)


def num_groups(features: int) -> int:
    """How many groups group normalisation takes: at most 16, each of at least 2 channels, for any number of features.

    Half of gcd(32, features): 16 for every published width. Never one channel a group, which is instance
    normalisation and turns a 1x1 map into zeros.
    """
    return max(1, math.gcd(32, features) // 2)


class Block(nn.Module):
    """H: concatenates its sources, then twice 3x3 convolution, normalisation, ReLU, dropout.

    Sources are `[B, H, W, C_k]` of equal size, the result `[B, H, W, features]` ("same": zeros beyond the border) or
    `[B, H-4, W-4, features]` ("valid"). Statistics are float32 whatever the dtype. A bias is kept only without
    normalisation, which would take it out again.
    """

    features: int
    padding: str
    norm: str
    dropout: float
    dtype: Any
    axis_name: str | None = None

    @nn.compact
    def __call__(self, sources: Sequence[jax.Array], train: bool) -> jax.Array:
        x = jnp.concatenate(sources, axis=-1) if len(sources) > 1 else sources[0]
        for k in range(2):
            x = nn.Conv(
                self.features,
                (3, 3),
                padding=self.padding.upper(),
                use_bias=self.norm == "none",
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=f"conv_{k}",
            )(x)
            x = nn.relu(self.normalise(x, train, f"norm_{k}"))
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x

    def normalise(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        if self.norm == "batch":
            return nn.BatchNorm(
                not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, axis_name=self.axis_name, name=name
            )(x)
        if self.norm == "group":
            return nn.GroupNorm(num_groups(self.features), epsilon=1e-5, dtype=self.dtype, name=name)(x)
        if self.norm == "instance":
            return nn.InstanceNorm(epsilon=1e-5, dtype=self.dtype, name=name)(x)
        return x


class Network(nn.Module):
    """What every network shares: the knobs, their checks, and the arithmetic of sizes.

    Attributes:
      num_classes: K, the channels of the logits.
      widths: channels of each level, shallow to deep; the depth is one less than their number.
      padding: "same" takes any size and returns it; "valid" returns only pixels whose whole context was seen.
      norm: normalisation between convolution and ReLU.
      upsample: U, see the module's docstring.
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

    paddings: ClassVar[tuple[str, ...]] = ("same",)

    def __post_init__(self):
        if isinstance(self.widths, Sequence) and not isinstance(self.widths, str):
            self.widths = tuple(self.widths)  # a list from a config is not hashable, as jit wants static modules
        self.check()
        super().__post_init__()

    @nn.nowrap
    def check(self):
        """Raises UserError where a knob has a value that the network cannot take."""
        for knob, allowed in {**CHOICES, "padding": self.paddings}.items():
            if getattr(self, knob) not in allowed:
                kind = type(self).__name__
                raise UserError(f"{knob}={getattr(self, knob)!r} is not for {kind}: choose from {', '.join(allowed)}.")
        whole = isinstance(self.widths, tuple) and all(is_count(width, 1) for width in self.widths)
        if not whole or len(self.widths) < 2:
            raise UserError(f"widths={self.widths!r}: give two or more positive whole numbers, such as (32, 64, 128).")
        if not is_count(self.num_classes, 1):
            raise UserError(f"num_classes={self.num_classes!r}: give a whole number from 1.")
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

    def output_size(self, size: int) -> int:
        """The logits' height (width) for an image of this height (width), in pixels."""
        return size

    def input_size(self, size: int) -> int:
        """The smallest legal height (width) of an image whose logits are at least this high (wide), in pixels."""
        return size

    def enter(self, images: jax.Array) -> jax.Array:
        """Checks `[B, H, W, C]`, casts it, and repeats its last row and column up to a multiple that can be halved.

        Repeated pixels make no edge that is not in the image, as zeros would. They are appended at the end only, so
        pixel (0, 0) stays where it is.
        """
        if images.ndim != 4 or 0 in images.shape:
            raise UserError(f"images of shape {images.shape}: give [batch, height, width, channels], none of them 0.")
        ends = [(0, -size % self.multiple) for size in images.shape[1:3]]
        return jnp.pad(images.astype(self.dtype), ((0, 0), *ends, (0, 0)), mode="edge")

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
