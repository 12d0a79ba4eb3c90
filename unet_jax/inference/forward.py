"""The forward pass of a prediction: heads -> probabilities, or masks and class ids."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.errors import UserError
from unet_jax.inference.options import MODES
from unet_jax.models.network import Network
from unet_jax.segmentation import VOID_ID, to_masks, to_probabilities


def select_heads(module: Network, mode: str = "accurate", level: int = 0) -> Network:
    """Returns the part of a trained network that `mode` and `level` need; it is applied to the same variables.

    >>> from unet_jax import models
    >>> module = models.build("unet_pp", num_classes=3, widths=(4, 8, 16), deep_supervision=True)
    >>> [select_heads(module, mode, level).levels for mode, level in (("accurate", 0), ("fast", 0), ("fast", 1))]
    [(1, 2), (2,), (1,)]

    Args:
      module: the network as trained.
      mode: "accurate" for the mean over the heads 1 to L, "fast" for head L alone. With a single head (U-Net, or trained
        without deep supervision) the two are the same.
      level: U-Net++'s pruning level L, which builds only the nodes with i + j <= L; 0 for the network as trained.

    Raises:
      UserError: the mode is unknown, or the network has no trained head at the level.
    """
    if mode not in MODES:
        raise UserError(f"mode {mode!r} is unknown; known: {', '.join(MODES)}")
    return module.at_level(level, one_head=mode == "fast")


def mean_probabilities(heads: Sequence[jax.Array], activation: str, mode: str = "accurate") -> jax.Array:
    """Returns the probabilities `[B, H, W, K]` of a network.

    Args:
      heads: the logits of each head, `[B, H, W, K]`, shallow to deep.
      activation: "softmax" or "sigmoid".
      mode: "accurate" for the mean over the heads, "fast" for the deepest head alone.
    """
    if mode == "fast":
        return to_probabilities(heads[-1], activation)
    total: Any = sum(to_probabilities(logits, activation) for logits in heads)
    return total / len(heads)


def head_probabilities(heads: Sequence[jax.Array], activation: str, mode: str = "accurate") -> jax.Array:
    """Returns the probabilities of each head that `mean_probabilities` takes the mean of, `[B, H, W, M, K]`."""
    heads = heads if mode == "accurate" else heads[-1:]
    return jnp.stack([to_probabilities(logits, activation) for logits in heads], -2)


def mean_masks(heads: Sequence[jax.Array], activation: str, mode: str = "accurate") -> tuple[jax.Array, jax.Array]:
    """Returns the masks, bool `[B, H, W, K]`, and the class ids, uint8 `[B, H, W]`, of `mean_probabilities`."""
    return to_masks(mean_probabilities(heads, activation, mode), activation)


# What the arrays of a prediction hold where the image is unknown: probabilities, masks and ids, by the kind of their type.
UNKNOWN = {"f": np.nan, "b": False, "u": VOID_ID}


def leave_out(predicted: Any, unknown: np.ndarray | None) -> Any:
    """Returns the arrays of a prediction without the pixels that the image does not know: NaN, in no mask, with the void id.

    Args:
      predicted: a tree of NumPy arrays `[h, W, ...]`, as a `Forward` gives them.
      unknown: bool `[h, W]`, see `nan_pixels.unknown_pixels`; None leaves the arrays as they are.
    """
    if unknown is None:
        return predicted
    return jax.tree.map(
        lambda x: np.where(
            unknown.reshape(unknown.shape + (1,) * (x.ndim - 2)), x.dtype.type(UNKNOWN[x.dtype.kind]), x
        ),
        predicted,
    )


@dataclasses.dataclass(frozen=True)
class Forward:
    """Runs a network on a batch, and turns the logits of its heads into what a prediction asks for.

    Attributes:
      finish: returns a tree of arrays `[B, H, W, ...]` for (heads, activation, mode); see `mean_probabilities`.
    """

    finish: Callable[[Sequence[jax.Array], str, str], Any]

    def __call__(self, module: Network, mode: str, variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> Any:
        """Returns what `finish` returns, for logits `[B, output_size(h), output_size(w), K]`.

        Args:
          module: the part of the network that `mode` needs; see `select_heads`.
          mode: "accurate" or "fast".
          variables: of the network.
          batch: its `image` holds normalised, padded images `[B, h, w, C]`.
        """
        heads: Any = module.apply(variables, batch["image"], train=False)
        return self.finish(heads, module.activation, mode)


# Every prediction runs one of these. They return the probabilities, those of each head, or masks and ids.
forward = Forward(mean_probabilities)
forward_heads = Forward(head_probabilities)
forward_masks = Forward(mean_masks)
