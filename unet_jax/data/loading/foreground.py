"""Chooses windows that show foreground, for a fraction of each batch, so that rare classes are seen (as in nnU-Net).

Foreground are the classes from id 1, or channel 1, up; void is no foreground. First a class is drawn, each class that is
present being equally likely, then one of its pixels. The window is centred on that pixel as far as the image reaches.
"""

import math
from collections.abc import Sequence

import numpy as np

from unet_jax.checks import number
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID

# Of the windows, those that show foreground.
FRACTION = number(least=0, most=1)


def wants_foreground(position: int, fraction: float) -> bool:
    """Returns True for a `fraction` of the positions, evenly spread."""
    return math.floor((position + 1) * fraction) > math.floor(position * fraction)


def check_any(source) -> None:
    """Raises UserError where no example of `source` shows foreground; reads the masks up to the first that does."""
    if not any(_present(source[index]["mask"]).size for index in range(len(source))):
        raise UserError(
            f"data.foreground_fraction: none of the {len(source)} training images shows another class than class 0; set it "
            "to 0, or correct the masks"
        )


def random_pixel(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """Returns (y, x) of a random foreground pixel of ids `[H, W]` or 0/1 masks `[H, W, K]`; None, and no draw, without any."""
    present = _present(mask)
    if not present.size:
        return None
    chosen = int(present[rng.integers(present.size)])
    pixels = np.flatnonzero(mask[..., chosen] if mask.ndim == 3 else mask == chosen)
    y, x = divmod(int(pixels[rng.integers(pixels.size)]), mask.shape[1])
    return y, x


def _present(mask: np.ndarray) -> np.ndarray:
    """Returns the foreground classes that have pixels in a mask `[H, W]` or `[H, W, K]`."""
    if mask.ndim == 3:
        pixels = mask.sum((0, 1), dtype=np.int64)
    else:
        pixels = np.bincount(mask.ravel(), minlength=VOID_ID)[:VOID_ID]
    return 1 + np.flatnonzero(pixels[1:])


def centred(pixel: Sequence[int], window: Sequence[int], slack: Sequence[int]) -> list[int]:
    """Returns the start of the window around a pixel, moved so that it lies in the image, or the image in it.

    Args:
      pixel: (y, x) of the pixel.
      window: (height, width) of the window.
      slack: the image's size minus the window's on each axis, negative where the window is larger.
    """
    return [
        min(max(center - size // 2, min(room, 0)), max(room, 0))
        for center, size, room in zip(pixel, window, slack, strict=True)
    ]
