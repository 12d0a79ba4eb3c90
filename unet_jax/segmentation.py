"""Arithmetic of logits, probabilities, masks and class ids, for NumPy and JAX arrays alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from unet_jax.errors import UserError

# Imported on use: what only reads files has no need of it, and it takes half a second.
if TYPE_CHECKING:
    import jax

Array: TypeAlias = "jax.Array | np.ndarray"

# The class id of void pixels, which losses and metrics leave out.
VOID_ID = 255
ACTIVATIONS = ("softmax", "sigmoid")


def to_probabilities(logits: Array, activation: str) -> "jax.Array":
    """Returns the probabilities of logits.

    >>> to_probabilities(np.array([0.0, 0.0], np.float32), "softmax")
    Array([0.5, 0.5], dtype=float32)

    Args:
      logits: `[..., K]`, one channel per class.
      activation: "softmax": the classes of a pixel exclude each other, and their probabilities add up to 1. "sigmoid": each
        class is a mask, and masks may overlap.

    Returns:
      Probabilities `[..., K]`.
    """
    import jax

    return jax.nn.softmax(logits, axis=-1) if activation == "softmax" else jax.nn.sigmoid(logits)


@overload
def to_masks(probabilities: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def to_masks(probabilities: "jax.Array", activation: str) -> "tuple[jax.Array, jax.Array]": ...
def to_masks(probabilities: Array, activation: str) -> tuple[Array, Array]:
    """Returns the masks and the class ids that the probabilities give.

    With "softmax" the id of a pixel is its most probable class, and the masks are the one-hot code of the id:

    >>> masks, ids = to_masks(np.array([[0.2, 0.5, 0.3], [0.9, 0.1, 0.0]]), "softmax")
    >>> ids.tolist(), masks[0].tolist()
    ([1, 0], [False, True, False])

    With "sigmoid" a mask holds the pixels whose probability is at least 0.5, so masks may overlap. The id of a pixel is then
    the most probable foreground class (channels 1 to K - 1) if its probability is at least 0.5, else 0, the background. If
    K = 1, the only channel is the foreground and has the id 1.

    >>> masks, ids = to_masks(np.array([[0.1, 0.6, 0.7], [0.9, 0.4, 0.3]]), "sigmoid")
    >>> ids.tolist(), masks[0].tolist()
    ([2, 0], [False, True, True])

    In NumPy arrays a probability may be NaN: the pixel is unknown. It is in no mask, and its id is `VOID_ID`.

    Args:
      probabilities: `[..., K]`.
      activation: "softmax" or "sigmoid".

    Returns:
      The masks, bool `[..., K]`, and the class ids, uint8 `[...]`; NumPy arrays if `probabilities` is one.
    """
    # mypy cannot know that both modules have these functions.
    xp: Any = np
    if not isinstance(probabilities, np.ndarray):
        import jax.numpy as xp
    num_classes = probabilities.shape[-1]
    if isinstance(probabilities, np.ndarray) and (unknown := np.isnan(probabilities[..., 0])).any():
        masks, ids = to_masks(np.where(unknown[..., None], np.float32(0), probabilities), activation)
        return masks & ~unknown[..., None], np.where(unknown, np.uint8(VOID_ID), ids)
    if activation == "softmax":
        ids = xp.argmax(probabilities, -1)[..., None]
        classes = xp.arange(num_classes).reshape((1,) * (ids.ndim - 1) + (-1,))
        return ids == classes, ids[..., 0].astype(np.uint8)
    foreground = probabilities[..., 1:] if num_classes > 1 else probabilities
    ids = xp.where(foreground.max(-1) >= 0.5, foreground.argmax(-1) + 1, 0)
    return probabilities >= 0.5, ids.astype(np.uint8)


def resolve_report_classes(class_names: Sequence[str], report_classes: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the names of the classes to report.

    >>> resolve_report_classes(("background", "cell", "wall")), resolve_report_classes(("cell",))
    (('cell', 'wall'), ('cell',))

    Args:
      class_names: all classes; the first is the background if there are several.
      report_classes: the classes to report; (): all except the background.

    Raises:
      UserError: a name in `report_classes` is not a class.
    """
    class_names, report_classes = tuple(class_names), tuple(report_classes)
    for name in report_classes:
        if name not in class_names:
            raise UserError(f"eval.classes: there is no class {name!r}; choose from {', '.join(class_names)}")
    return report_classes or class_names[1:] or class_names


def truth_masks(mask: Array, num_classes: int) -> Array:
    """Returns the true masks of a batch, one channel per class.

    >>> truth_masks(np.array([[[0, 2]]]), num_classes=3).tolist()
    [[[[True, False, False], [False, False, True]]]]

    Args:
      mask: class ids `[B, h, w]`, or 0/1 masks `[B, h, w, K]`.
      num_classes: K. If K = 1, the only channel is class id 1.

    Returns:
      Bool `[B, h, w, K]`; at a void pixel of an id image all channels are False.
    """
    if mask.ndim == 4:
        return mask == 1
    ids = np.arange(num_classes, dtype=np.int32) if num_classes > 1 else np.ones(1, np.int32)
    return mask[..., None] == ids.reshape(1, 1, 1, -1)


def true_masks(mask: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the true masks of one example, and which of its pixels are valid.

    >>> truth, valid = true_masks(np.array([[1, VOID_ID]]), num_classes=2)
    >>> truth.tolist(), valid.tolist()
    ([[[False, True], [False, False]]], [[True, False]])

    Args:
      mask: class ids `[H, W]`, or 0/1 masks `[H, W, K]`; 255 is void.
      num_classes: K.

    Returns:
      The masks, bool `[H, W, K]`, and valid, bool `[H, W]`, False for void pixels.
    """
    truth = np.asarray(truth_masks(np.asarray(mask)[None], num_classes)[0])
    void = mask == VOID_ID
    return truth, ~(void.any(-1) if mask.ndim == 3 else void)


@overload
def center_crop(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray: ...
@overload
def center_crop(array: "jax.Array", size: tuple[int, ...]) -> "jax.Array": ...
def center_crop(array: Array, size: tuple[int, ...]) -> Array:
    """Returns the middle of a batch of images or masks. A network with valid padding returns logits of this part.

    >>> center_crop(np.arange(5).reshape(1, 1, 5), (1, 3)).tolist()
    [[[1, 2, 3]]]

    Args:
      array: `[B, h, w, ...]`.
      size: (height, width) of the result.

    Returns:
      `[B, height, width, ...]`. If the difference in size is odd, one pixel more is cut off at the bottom or right.
    """
    top, left = (array.shape[1] - size[0]) // 2, (array.shape[2] - size[1]) // 2
    return array[:, top : top + size[0], left : left + size[1]]
