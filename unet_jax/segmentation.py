"""The arithmetic of masks, on NumPy and JAX arrays alike: class ids, probabilities, masks, crops, the classes reported."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.errors import UserError

# The class id of pixels that losses and metrics leave out.
VOID_ID = 255
ACTIVATIONS = ("softmax", "sigmoid")


def to_probabilities(logits, activation: str):
    """Returns the probabilities `[..., K]` of logits `[..., K]`: a softmax over the classes, or a sigmoid for each."""
    return jax.nn.softmax(logits, axis=-1) if activation == "softmax" else jax.nn.sigmoid(logits)


def to_masks(probabilities, activation: str):
    """Returns the masks, bool `[..., K]`, and the class ids, uint8 `[...]`, of probabilities `[..., K]`.

    With "softmax" the id is the most probable class, and the masks are its one-hot. With "sigmoid" each mask is where its
    own probability is at least 0.5, so masks may overlap. An id image holds one class per pixel: the most probable
    foreground class (channels 1..K-1) if its probability is at least 0.5, else 0, the background. With K = 1 the one
    channel is the foreground, id 1.

    NumPy arrays give NumPy arrays.
    """
    xp = np if isinstance(probabilities, np.ndarray) else jnp
    num_classes = probabilities.shape[-1]
    if activation == "softmax":
        ids = xp.argmax(probabilities, -1)[..., None]
        classes = xp.arange(num_classes).reshape((1,) * (ids.ndim - 1) + (-1,))
        return ids == classes, ids[..., 0].astype(np.uint8)
    foreground = probabilities[..., 1:] if num_classes > 1 else probabilities
    ids = xp.where(foreground.max(-1) >= 0.5, foreground.argmax(-1) + 1, 0)
    return probabilities >= 0.5, ids.astype(np.uint8)


def resolve_report_classes(class_names: Sequence[str], report_classes: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the classes to report: those given, else all but the background (channel 0), else the only one there is.

    Raises:
      UserError: a name in `report_classes` is not a class.
    """
    class_names, report_classes = tuple(class_names), tuple(report_classes)
    for name in report_classes:
        if name not in class_names:
            raise UserError(f"eval.classes: no class {name!r}; the classes are {', '.join(class_names)}")
    return report_classes or class_names[1:] or class_names


def truth_masks(mask, num_classes: int):
    """Returns the true masks, one channel per class: bool `[B, h, w, K]` of ids `[B, h, w]` or 0/1 masks `[B, h, w, K]`.

    With K = 1 the one channel is class id 1.
    """
    if mask.ndim == 4:
        return mask == 1
    ids = np.arange(num_classes, dtype=np.int32) if num_classes > 1 else np.ones(1, np.int32)
    return mask[..., None] == ids.reshape(1, 1, 1, -1)


def true_masks(mask: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the true masks, bool `[H, W, K]`, and valid, bool `[H, W]`, of an example's ids or 0/1 masks; 255 is void."""
    truth = truth_masks(np.asarray(mask)[None], num_classes)[0]
    void = mask == VOID_ID
    return truth, ~(void.any(-1) if mask.ndim == 3 else void)


def center_crop(array, size: tuple[int, int]):
    """Returns the middle of `[B, h, w, ...]`: what a network with valid padding returns logits for."""
    top, left = (array.shape[1] - size[0]) // 2, (array.shape[2] - size[1]) // 2
    return array[:, top : top + size[0], left : left + size[1]]
