"""The base class of every network: its common options, the sizes it takes, its heads and levels."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.checks import choice, number, whole
from unet_jax.errors import UserError
from unet_jax.models.operators import crop, is_padded
from unet_jax.models.receptive_field import ReadsWholeMap, trace

# The largest number of channels of a map, and of layers of a block; more than any machine holds.
MOST_CHANNELS = 2**16
MOST_LAYERS = 2**8
# The most times that a map is halved. An image is padded to a multiple of 2^depth pixels.
MOST_DEPTH = 10
CHANNELS = whole(1, MOST_CHANNELS)
DROPOUT = number(least=0, below=1)


class Network(nn.Module):
    """Maps images to the logits of one head or more.

    >>> from unet_jax import models
    >>> network = models.build("unet_pp", num_classes=3, widths=(8, 16, 32), deep_supervision=True)
    >>> network.num_heads, network.levels, network.multiple
    (2, (1, 2), 4)
    >>> network.at_level(1, one_head=True).levels
    (1,)
    >>> valid = models.build("unet", num_classes=2, padding="valid")
    >>> valid.output_size(572), valid.input_size(388)
    (388, 572)

    A subclass adds its options as fields, their allowed values to `CHOICES` and `check`, and `multiple`. One that returns
    fewer pixels than it takes overrides `output_size` and `input_size`. One with several levels or heads overrides
    `deep_supervision`, `levels`, `num_heads` and `at_level`.

    Attributes:
      variant: a published network, one of `VARIANTS`. It fixes every option that it names except `widths`, which may be
        made smaller. "" fixes nothing.
      num_classes: K, the channels of the logits; 1 only with sigmoid.
      dropout: the fraction of activations set to 0 in training; the network's docstring says where.
      dtype: the type of the computation: float32, bfloat16, or float64 where jax_enable_x64 is set. Parameters, statistics
        and logits are float32, or the wider type that they are given in.
      activation: turns logits into probabilities; not applied here, but used by loss, metrics and prediction.
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
    # With an annotation it would be an option of every network; it is one of U-Net++ alone.
    deep_supervision = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name, None)
            if isinstance(field.default, tuple) and isinstance(value, list):
                # jit needs a module that can be hashed. A list from a config cannot be hashed.
                setattr(self, field.name, tuple(value))
        self.check()
        super().__post_init__()

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError where an option has a value that the network cannot take."""
        for option, allowed in ({"variant": tuple(self.VARIANTS)} | self.CHOICES).items():
            choice(allowed).check(option, getattr(self, option))
        for option, value in self.VARIANTS[self.variant].items():
            if option != "widths" and getattr(self, option) != value:
                raise UserError(
                    f"variant {self.variant!r} fixes {option}={value!r}; got {option}={getattr(self, option)!r}. "
                    f"Drop {option}, or set variant=''."
                )
        # Before jax 0.12 its attributes have no types.
        config: Any = jax.config
        if self.dtype == "float64" and not config.jax_enable_x64:
            raise UserError("dtype='float64': JAX has it only with JAX_ENABLE_X64=1 in the environment.")
        CHANNELS.check("num_classes", self.num_classes)
        if self.num_classes == 1 and self.activation == "softmax":
            raise UserError(
                "num_classes=1 with activation='softmax': the probability would be 1 everywhere; give activation='sigmoid'."
            )
        DROPOUT.check("dropout", self.dropout)

    @property
    def multiple(self) -> int:
        """The step between the sizes that the network works on, in pixels."""
        raise NotImplementedError

    @property
    def halo(self) -> int | None:
        """The largest distance from which a pixel's logits read, in pixels, over all its positions in the grid of the pools.

        None for a network with an operation over rows that is not in `operators.py`, such as group or instance
        normalisation: it reads the whole map.
        """
        try:
            return trace(self).halo
        except ReadsWholeMap:
            return None

    @property
    def options(self) -> dict[str, Any]:
        """Every option by its name; these are the arguments of `build`."""
        names = (field.name for field in dataclasses.fields(self) if field.name not in ("parent", "name"))
        return {name: getattr(self, name) for name in names}

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels with a trained head, shallow to deep; (0,) for a network that has no levels."""
        return (0,)

    @property
    def num_heads(self) -> int:
        """The number of heads, which is the length of the tuple that the network returns."""
        return 1

    @nn.nowrap
    def at_level(self, level: int, *, one_head: bool = False) -> Self:
        """Returns the part of the network that a level needs; it is applied to the same variables.

        Args:
          level: one of `levels`, or 0 for the network as it is.
          one_head: keeps only the head of the level; without it, the heads of all levels up to it are kept.

        Raises:
          UserError: the level has no trained head.
        """
        del one_head
        if level != 0:
            raise UserError(f"level {level}: the network has no levels; give 0")
        return self

    @nn.nowrap
    def without_remat(self) -> Self:
        """Returns the network without recomputation: same parameters and results, for use without a backward pass."""
        return self

    @property
    def kernel_init(self) -> Callable:
        """The initializer of the convolutions' kernels."""
        return nn.initializers.he_normal()

    def output_size(self, size: int) -> int:
        """Returns the height (width) of the logits for an image of this height (width), in pixels.

        Raises:
          UserError: the network cannot take this size.
        """
        return size

    def input_size(self, size: int) -> int:
        """Returns the smallest legal height (width) of an image whose logits are at least this high (wide), in pixels."""
        return size

    def pad_to_multiple(self, images: jax.Array) -> jax.Array:
        """Casts images `[B, H, W, C]` and repeats their last row and column up to a `multiple`.

        Repeated pixels add no edge to the image; zeros would. They are appended at the end only, so pixel (0, 0) stays where
        it is.

        Raises:
          UserError: the images have another rank, or one of their sizes is 0.
        """
        if images.ndim != 4 or 0 in images.shape:
            raise UserError(f"images of shape {images.shape}: give [batch, height, width, channels], none of them 0.")
        if is_padded():
            return images.astype(self.dtype)
        ends = [(0, -size % self.multiple) for size in images.shape[1:3]]
        return jnp.pad(images.astype(self.dtype), ((0, 0), *ends, (0, 0)), mode="edge")

    def crop_to_input(self, x: jax.Array, images: jax.Array) -> jax.Array:
        """Removes the pixels that `pad_to_multiple` appended from a map at the resolution of the images."""
        return crop(x, (0, 0), (images.shape[1], images.shape[2]))

    def head(self, name: str) -> nn.Conv:
        """Builds the 1x1 convolution to the logits as the submodule `name`; it computes in float32 or a wider type."""
        dtype = jnp.promote_types(self.dtype, jnp.float32)
        return nn.Conv(self.num_classes, (1, 1), kernel_init=self.kernel_init, dtype=dtype, name=name)
