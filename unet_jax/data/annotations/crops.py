"""Makes crops from masks, and joins them."""

from collections.abc import Sequence

import numpy as np

from unet_jax.data.annotations.objects import Crop

EMPTY = Crop(np.zeros((0, 0), bool), 0, 0)


def from_mask(mask: np.ndarray, size: tuple[int, int], top: int = 0, left: int = 0) -> Crop:
    """Returns the pixels of a mask, cut to the smallest box around them and to the image.

    >>> mask, top, left = from_mask(np.array([[0, 0, 1], [0, 0, 1]]), (5, 5), top=-1)
    >>> mask.tolist(), top, left
    ([[True]], 0, 2)

    Args:
      mask: `[h, w]`; not 0 for the pixels of the object.
      size: height and width of the image.
      top: row of the first row of `mask` in the image; it may lie outside.
      left: column of its first column.
    """
    up, before = max(-top, 0), max(-left, 0)
    inside = mask[up : max(size[0] - top, 0), before : max(size[1] - left, 0)].astype(bool)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return EMPTY
    box = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Crop(box, int(top + up + rows[0]), int(left + before + columns[0]))


def union(crops: Sequence[Crop]) -> Crop:
    """Returns the pixels of all crops."""
    crops = [crop for crop in crops if crop.mask.size]
    if len(crops) < 2:
        return crops[0] if crops else EMPTY
    top, left = min(crop.top for crop in crops), min(crop.left for crop in crops)
    height = max(crop.top + crop.mask.shape[0] for crop in crops) - top
    width = max(crop.left + crop.mask.shape[1] for crop in crops) - left
    joined = np.zeros((height, width), bool)
    for mask, row, column in crops:
        joined[row - top : row - top + mask.shape[0], column - left : column - left + mask.shape[1]] |= mask
    return Crop(joined, top, left)
