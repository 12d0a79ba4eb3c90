"""Pixels of float images that are NaN or infinite: they are refused, or void.

A pixel is unknown if one of its channels is NaN or infinite. With data.nan="error" an image with such a pixel is refused. With
"void" it stays NaN from the file to the window: no statistic counts it, it is 0 in every channel once the image is normalised
(`normalization`), and mask and prediction are void there. So its value changes nothing.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from unet_jax.errors import UserError

# What is done with an unknown pixel.
CHOICES = ("error", "void")


def unknown_pixels(image: np.ndarray) -> np.ndarray | None:
    """Returns where a channel is NaN or infinite, bool `[H, W]`; None if no pixel is unknown.

    >>> unknown_pixels(np.array([[[1.0, 2.0], [np.nan, 2.0]]], np.float32)).tolist()
    [[False, True]]

    Args:
      image: uint8, uint16 or float32 `[H, W, C]`.
    """
    if image.dtype.kind != "f":
        return None
    unknown = ~np.isfinite(image).all(-1)
    return unknown if unknown.any() else None


def known_values(image: np.ndarray) -> np.ndarray:
    """Returns an image without its unknown pixels: `[N, C]`, or the image itself where there is none."""
    unknown = unknown_pixels(image)
    return image if unknown is None else image[~unknown]


def refuse_unknown(bands: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the bands `[h, W, C]` of an image; after the last one, refuses the image if a pixel of it is unknown.

    Raises:
      UserError: tells how many pixels are unknown, and where the first is.
    """
    count, rows, first = 0, 0, (0, 0)
    for band in bands:
        unknown = unknown_pixels(band)
        if unknown is not None:
            if not count:
                row, column = divmod(int(unknown.argmax()), unknown.shape[1])
                first = rows + row, column
            count += int(unknown.sum())
        rows += len(band)
        yield band
    if count:
        noun = "pixel that is" if count == 1 else "pixels that are"
        raise UserError(
            f"the image holds {count} {noun} NaN or Inf, the first in row {first[0]}, column {first[1]}, counted from 0; "
            "replace such values, or train with data.nan='void', which leaves these pixels out"
        )


def check_unknown(image: np.ndarray) -> None:
    """Refuses an image `[H, W, C]` with an unknown pixel; see `refuse_unknown`."""
    for _ in refuse_unknown([image]):
        pass
