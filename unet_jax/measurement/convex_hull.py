"""Counts the pixels in the convex hull of an object, from the first and last pixel of each row, in whole numbers.

The hull is that of `skimage.morphology.convex_hull_image`: around the middles of the four sides of each pixel. A pixel is in
it if its centre is, or lies on its border.
"""

import numpy as np


def convex_area(first: np.ndarray, last: np.ndarray) -> int:
    """Returns the number of pixels in the convex hull of an object.

    >>> convex_area(np.array([0, 0, 0]), np.array([2, 0, 2]))
    9

    Args:
      first: the column of the first pixel of each row, int64 `[n]`; no row is left out.
      last: the column of the last pixel of each row, int64 `[n]`.
    """
    left, right = _bounds(first), -_bounds(-last)
    return int(np.sum(right - left + 1))


def _bounds(first: np.ndarray) -> np.ndarray:
    """Returns the first column of the hull in each row, int64 `[n]`."""
    # In half pixels: the left sides of the pixels, and between them the upper and lower ones.
    outline = np.empty(2 * len(first) + 1, np.int64)
    outline[1::2] = 2 * first - 1
    outline[0], outline[-1] = 2 * first[0], 2 * first[-1]
    outline[2:-1:2] = 2 * np.minimum(first[:-1], first[1:])
    corners = _lower_hull(outline.tolist())
    y = np.arange(1, len(outline), 2)
    index = np.searchsorted(corners, y, side="right") - 1
    begin, end = np.asarray(corners)[index], np.asarray(corners)[index + 1]
    height = end - begin
    # Rounded up to a whole pixel.
    x = outline[begin] * height + (outline[end] - outline[begin]) * (y - begin)
    return -(-x // (2 * height))


def _lower_hull(values: list[int]) -> list[int]:
    """Returns the positions of the corners of the largest convex function below some values (Andrew 1979)."""
    corners: list[int] = []
    for i, value in enumerate(values):
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            if (values[b] - values[a]) * (i - a) < (value - values[a]) * (b - a):
                break
            corners.pop()
        corners.append(i)
    return corners
