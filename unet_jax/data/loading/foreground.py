"""Chooses windows that show foreground, for a fraction of each batch, so that rare classes are seen (as in nnU-Net).

Foreground means all classes except class 0, and where masks overlap, all channels except channel 0. Void is not foreground.
First a class is drawn from those that the image shows, all equally likely; then one of its pixels. The window is centred on
that pixel, and moved into the image where it would leave it.
"""

import math
from collections.abc import Sequence

import numpy as np

from unet_jax.data.dataset import ExampleSource
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID


def wants_foreground(position: int, fraction: float) -> bool:
    """Returns True for a `fraction` of the positions, evenly spread.

    >>> [wants_foreground(position, 0.5) for position in range(4)]
    [False, True, False, True]
    """
    return math.floor((position + 1) * fraction) > math.floor(position * fraction)


def check_any(source: ExampleSource) -> None:
    """Checks that an example shows foreground; reads the masks up to the first that does.

    Raises:
      UserError: no example of `source` shows foreground.
    """
    if not any(_present(source[index]["mask"]).size for index in range(len(source))):
        raise UserError(
            f"data.foreground_fraction: all {len(source)} training images show class 0 only; set it to 0, or correct the "
            "masks"
        )


def random_pixel(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """Returns (y, x) of a random foreground pixel; None, without a draw, if the mask shows no foreground.

    Args:
      mask: class ids `[H, W]`, or 0/1 masks `[H, W, K]`.
      rng: gives the random numbers.
    """
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
    """Returns the (y, x) start of the window around a pixel.

    The window is moved until it lies in the image. Where it is larger than the image, it is moved until it holds the image.

    Args:
      pixel: (y, x) of the pixel.
      window: (height, width) of the window.
      slack: (height, width) of the image minus those of the window; negative where the window is larger.
    """
    return [
        min(max(center - size // 2, min(room, 0)), max(room, 0))
        for center, size, room in zip(pixel, window, slack, strict=True)
    ]
