"""The arithmetic of masks, on NumPy and JAX arrays alike: class ids, probabilities, masks, crops, the classes reported."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.errors import UserError

VOID_ID = 255  # the class id of pixels that losses and metrics leave out
ACTIVATIONS = ("softmax", "sigmoid")


def to_probabilities(logits, activation: str):
    """Logits [..., K] -> probabilities [..., K]: softmax over the classes, or a sigmoid for each."""
    return jax.nn.softmax(logits, axis=-1) if activation == "softmax" else jax.nn.sigmoid(logits)


def to_masks(probabilities, activation: str):
    """Probabilities [..., K] -> (masks bool [..., K], ids uint8 [...]); NumPy in, NumPy out.

    softmax: the id is the most probable class, the masks are its one-hot.
    sigmoid: each mask is where its own probability is at least 0.5, so masks may overlap. An id image holds one class per
    pixel: the most probable foreground class (channels 1..K-1) if its probability is at least 0.5, else 0, the
    background. With K = 1 the one channel is the foreground, id 1.
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
    """The reported classes: `report_classes`, or all but the background (channel 0), or the only one there is.

    Raises:
        UserError: a name in `report_classes` is not a class.
    """
    class_names, report_classes = tuple(class_names), tuple(report_classes)
    for name in report_classes:
        if name not in class_names:
            raise UserError(f"eval.classes: no class {name!r}; the classes are {', '.join(class_names)}")
    return report_classes or class_names[1:] or class_names


def truth_masks(mask, num_classes: int):
    """The true masks, one channel per class: bool [B, h, w, K] from ids [B, h, w] or 0/1 masks [B, h, w, K].

    With K = 1 the one channel is class id 1.
    """
    if mask.ndim == 4:
        return mask == 1
    ids = np.arange(num_classes, dtype=np.int32) if num_classes > 1 else np.ones(1, np.int32)
    return mask[..., None] == ids.reshape(1, 1, 1, -1)


def center_crop(array, size: tuple[int, int]):
    """The middle of [B, h, w, ...]: what a valid-padding network returns logits for."""
    top, left = (array.shape[1] - size[0]) // 2, (array.shape[2] - size[1]) // 2
    return array[:, top : top + size[0], left : left + size[1]]


def true_masks(mask: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(bool [H, W, K], valid [H, W]) of an example's ids [H, W] or 0/1 masks [H, W, K]; 255 is void."""
    truth = truth_masks(np.asarray(mask)[None], num_classes)[0]
    void = mask == VOID_ID
    return truth, ~(void.any(-1) if mask.ndim == 3 else void)
