"""What every network shares: num_classes, dtype and activation, the sizes it takes, and its head."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.errors import UserError


class Network(nn.Module):
    """From images to the logits of one head or more.

    A subclass adds its knobs as fields, what they may be to `CHOICES` and `check`, and `multiple`; one that returns fewer
    pixels than it takes overrides `output_size` and `input_size`.

    Attributes:
      variant: one of `VARIANTS`, a network as published: it says what knobs are, all but `widths`, which only default to
        the published ones so that a small machine can run it; "" leaves every knob to the user.
      num_classes: K, the channels of the logits; 1 only with sigmoid.
      dropout: the share of activations set to 0 in training; where, the network's docstring tells.
      dtype: of the computation: float32, bfloat16, or float64 where jax_enable_x64 is set; parameters, statistics and
        logits are float32, or what they are given as, if that is wider.
      activation: what turns logits into probabilities; not applied here, but used by loss, metrics and prediction.
      axis_name: the mapped axis over which BatchNorm takes its mean and variance, and Dropout counts its examples.
    """

    num_classes: int
    variant: str = ""
    dropout: float = 0.0
    dtype: str = "float32"
    activation: str = "softmax"
    axis_name: str | None = None

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {"": {}}
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "dtype": ("float32", "bfloat16", "float64"),
        "activation": ("softmax", "sigmoid"),
    }

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name, None)
            if isinstance(field.default, tuple) and isinstance(value, Sequence) and not isinstance(value, str):
                setattr(self, field.name, tuple(value))  # a list from a config has no hash, as jit wants of a module
        self.check()
        super().__post_init__()

    @nn.nowrap
    def check(self):
        """Raises UserError where a knob has a value that the network cannot take."""
        for knob, allowed in ({"variant": tuple(self.VARIANTS)} | self.CHOICES).items():
            if getattr(self, knob) not in allowed:
                kind, known = type(self).__name__, ", ".join(choice or "''" for choice in allowed)
                raise UserError(f"{knob}={getattr(self, knob)!r} is not for {kind}: choose from {known}.")
        for knob, value in self.VARIANTS[self.variant].items():
            if knob != "widths" and getattr(self, knob) != value:
                raise UserError(
                    f"{knob}={getattr(self, knob)!r} is not variant {self.variant!r}, which has {value!r}: "
                    f"give {knob} that value or, to `build`, none; or choose variant=''."
                )
        if self.dtype == "float64" and not jax.config.jax_enable_x64:
            raise UserError("dtype='float64': JAX has it only with JAX_ENABLE_X64=1 in the environment.")
        if not is_count(self.num_classes, 1):
            raise UserError(f"num_classes={self.num_classes!r}: give a whole number from 1.")
        if self.num_classes == 1 and self.activation == "softmax":
            raise UserError("num_classes=1 with activation='softmax' is 1 everywhere: give activation='sigmoid'.")
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout!r}: give a number from 0 to less than 1.")

    @property
    def multiple(self) -> int:
        """The step between the sizes that the network works on, in pixels."""
        raise NotImplementedError

    @property
    def kernel_init(self) -> Callable:
        """How the kernels of convolutions start."""
        return nn.initializers.he_normal()

    def output_size(self, size: int) -> int:
        """The logits' height (width) for an image of this height (width), in pixels; UserError if that is not legal."""
        return size

    def input_size(self, size: int) -> int:
        """The smallest legal height (width) of an image whose logits are at least this high (wide), in pixels."""
        return size

    def enter(self, images: jax.Array) -> jax.Array:
        """Checks `[B, H, W, C]`, casts it, and repeats its last row and column up to a `multiple`.

        Repeated pixels make no edge that is not in the image, as zeros would. They are appended at the end only, so
        pixel (0, 0) stays where it is.
        """
        if images.ndim != 4 or 0 in images.shape:
            raise UserError(f"images of shape {images.shape}: give [batch, height, width, channels], none of them 0.")
        ends = [(0, -size % self.multiple) for size in images.shape[1:3]]
        return jnp.pad(images.astype(self.dtype), ((0, 0), *ends, (0, 0)), mode="edge")

    def leave(self, x: jax.Array, images: jax.Array) -> jax.Array:
        """The pixels of a map at the images' resolution that have logits: those not appended by `enter`."""
        return x[:, : images.shape[1], : images.shape[2]]

    def head(self, name: str) -> nn.Conv:
        """The 1x1 convolution to the logits, at least in float32, so that bfloat16 ends before the loss."""
        dtype = jnp.promote_types(self.dtype, jnp.float32)
        return nn.Conv(self.num_classes, (1, 1), kernel_init=self.kernel_init, dtype=dtype, name=name)


def is_count(value: Any, least: int) -> bool:
    """Whether the value is a whole number, not a bool, from `least` up."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def are_counts(values: Any) -> bool:
    """Whether the values are a tuple of whole numbers from 1 up."""
    return isinstance(values, tuple) and all(is_count(value, 1) for value in values)
