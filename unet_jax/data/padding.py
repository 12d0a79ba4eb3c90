"""Mirrors images beyond their borders, and gives the sizes that they are padded to."""

from collections.abc import Callable, Sequence

import numpy as np


def mirrored(start: int, stop: int, n: int) -> np.ndarray:
    """Returns indices into an axis of n pixels for the positions start..stop-1, mirrored about its end pixels ("reflect")."""
    period = max(2 * (n - 1), 1)
    folded = np.arange(start, stop) % period
    return np.minimum(folded, period - folded) if n > 1 else folded


def pad_image(image: np.ndarray, size: Sequence[int], margin: Sequence[int] = (0, 0)) -> np.ndarray:
    """Mirrors `[H, W, ...]` out to `size` = (h, w), with its origin at `margin` = (top, left)."""
    return mirrored_window(image, (-margin[0], -margin[1]), size)


def padded_size(height: int, width: int, pad_multiple: int, input_size: Callable[[int], int]) -> tuple[int, int]:
    """Returns the padded size of an image: input_size(n rounded up to a multiple of `pad_multiple`) on each axis."""
    return input_size(-(-height // pad_multiple) * pad_multiple), input_size(-(-width // pad_multiple) * pad_multiple)


def mirrored_window(array: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Returns the `size` = (h, w) pixels of `[H, W, ...]` from `start` = (y, x) on, mirrored where they lie outside."""
    (y, x), (h, w), (rows, columns) = start, size, array.shape[:2]
    if y >= 0 and x >= 0 and y + h <= rows and x + w <= columns:
        return array[y : y + h, x : x + w]
    return array[mirrored(y, y + h, rows)][:, mirrored(x, x + w, columns)]
