"""Pads images by mirroring, and computes the padded sizes."""

from collections.abc import Callable, Sequence

import numpy as np


def mirrored(start: int, stop: int, n: int) -> np.ndarray:
    """Returns indices into an axis of n pixels for the positions start..stop-1, mirrored about the end pixels.

    This is the mode "reflect" of `np.pad`, for any distance from the axis. An axis of one pixel is repeated.

    >>> mirrored(-2, 5, 3).tolist()
    [2, 1, 0, 1, 2, 1, 0]

    Args:
      start: first position.
      stop: end of the positions, not included.
      n: number of pixels of the axis.

    Returns:
      Indices `[stop - start]` in 0..n-1.
    """
    period = max(2 * (n - 1), 1)
    folded = np.arange(start, stop) % period
    return np.minimum(folded, period - folded) if n > 1 else folded


def pad_image(image: np.ndarray, size: Sequence[int], margin: Sequence[int] = (0, 0)) -> np.ndarray:
    """Returns the image padded to `size` by mirroring.

    >>> pad_image(np.array([[1, 2, 3]]), (1, 6), (0, 1)).tolist()
    [[2, 1, 2, 3, 2, 1]]

    Args:
      image: `[H, W, ...]`.
      size: (height, width) of the result.
      margin: (top, left) position of the image in the result.
    """
    return mirrored_window(image, (-margin[0], -margin[1]), size)


def padded_size(height: int, width: int, pad_multiple: int, input_size: Callable[[int], int]) -> tuple[int, int]:
    """Returns the (height, width) to which an image is padded.

    >>> padded_size(100, 128, 64, lambda n: n + 4)
    (132, 132)

    Args:
      height: height of the image in pixels.
      width: width of the image in pixels.
      pad_multiple: each side is rounded up to a multiple of this.
      input_size: gives the network's input size for a size of its output; applied to each rounded side.
    """
    return input_size(-(-height // pad_multiple) * pad_multiple), input_size(-(-width // pad_multiple) * pad_multiple)


def mirrored_window(array: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Returns a window of an array; beyond the array it is mirrored.

    Args:
      array: `[H, W, ...]`.
      start: (y, x) of the window's first pixel, which may lie outside the array.
      size: (height, width) of the window.
    """
    (y, x), (h, w), (rows, columns) = start, size, array.shape[:2]
    if y >= 0 and x >= 0 and y + h <= rows and x + w <= columns:
        return array[y : y + h, x : x + w]
    return array[mirrored(y, y + h, rows)][:, mirrored(x, x + w, columns)]
