"""Objects from masks with borders, in which objects that touch have a class between them; see `unet_jax.data.store.borders`.

The interiors do not touch, so each connected piece of the class is an object. It grows back into what is not background, one pixel
at a time in the four directions. Where two objects reach a pixel at the same time, the one with the larger number gets it. Growth ends
after a number of steps, so a pixel depends only on those around it, and a border far from any interior is no object.
"""

import math

import numpy as np
import scipy.ndimage

from unet_jax.data.targets import BORDER_ID, OBJECT_ID

CROSS = scipy.ndimage.generate_binary_structure(2, 1)
# Steps of growth for each pixel of the border's width. Where three objects meet, an interior begins up to twice the width behind
# the edge, and a diagonal takes two steps for 1.4 pixels.
STEPS = 3


def interiors(masks: np.ndarray) -> np.ndarray:
    """Returns the pixels of objects that are no border, bool `[..., W]`.

    Args:
      masks: of the classes background, object and border, bool `[..., W, 3]`; with a sigmoid they may overlap.
    """
    return masks[..., OBJECT_ID] & ~masks[..., BORDER_ID]


def ground(masks: np.ndarray) -> np.ndarray:
    """Returns the pixels that interiors may grow into, bool `[..., W]`: all but the background.

    With a sigmoid the probabilities of object and border may both lie below 0.5 between the two. Such a pixel is no background either.

    Args:
      masks: as in `interiors`.
    """
    return ~masks[..., 0]


def growth(border_width: float) -> int:
    """Returns the number of steps of growth for `data.border_width`."""
    return STEPS * math.ceil(border_width)


def grow(numbers: np.ndarray, allowed: np.ndarray, steps: int) -> np.ndarray:
    """Lets objects grow; none grows into another one.

    >>> grow(np.array([[0, 1, 0, 0, 0, 2, 0, 0]]), np.array([[False, True, True, True, True, True, True, True]]), steps=2)
    array([[0, 1, 1, 2, 2, 2, 2, 2]])

    Args:
      numbers: of the objects `[H, W]`; 0 is no object.
      allowed: True for pixels that they may grow into, bool `[H, W]`.
      steps: the number of pixels that they grow.

    Returns:
      The numbers, `[H, W]` of the type of `numbers`.
    """
    for _ in range(steps):
        free = allowed & (numbers == 0)
        if not free.any():
            break
        numbers = np.where(
            free, scipy.ndimage.maximum_filter(numbers, footprint=CROSS, mode="constant", cval=0), numbers
        )
    return numbers
