"""What the dimensions of an array in a file are: rows, columns, channels, or pictures of a stack.

The letters are those of TIFF and OME: Y rows, X columns, S the samples of a pixel, C channels. All others (Z, T, I, Q, ...) count
pictures. Where there are both S and C, the channels are all pairs of them, C outermost.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unet_jax.errors import UserError

ROWS, COLUMNS = "Y", "X"
CHANNELS = ("C", "S")


class Layout(NamedTuple):
    """What an array holds.

    Attributes:
      pages: number of pictures.
      height: of a picture, in pixels.
      width: of a picture, in pixels.
      channels: of a picture.
    """

    pages: int
    height: int
    width: int
    channels: int


def lay_out(path: object, shape: Sequence[int], axes: str) -> Layout:
    """Returns what an array of this shape holds.

    >>> lay_out("a.tif", (5, 2, 480, 640), "ZCYX")
    Layout(pages=5, height=480, width=640, channels=2)

    Args:
      path: name of the file, for errors.
      shape: of the array.
      axes: a letter for each dimension.

    Raises:
      UserError: the letters do not fit the shape.
    """
    _check(path, shape, axes)
    sizes = dict(zip(axes, shape, strict=True))
    channels = math.prod(sizes[axis] for axis in CHANNELS if axis in sizes)
    pages = math.prod(size for axis, size in sizes.items() if axis not in (ROWS, COLUMNS, *CHANNELS))
    return Layout(pages, sizes[ROWS], sizes[COLUMNS], channels)


def to_pictures(path: object, values: np.ndarray, axes: str) -> np.ndarray:
    """Returns the pictures of an array, `[N, H, W, C]`, in the order in which they are stored.

    >>> to_pictures("a.tif", np.zeros((2, 5, 480, 640), np.uint8), "CZYX").shape
    (5, 480, 640, 2)

    Args:
      path: name of the file, for errors.
      values: the array.
      axes: a letter for each dimension.

    Raises:
      UserError: the letters do not fit the shape.
    """
    layout = lay_out(path, values.shape, axes)
    counted = [axis for axis in axes if axis not in (ROWS, COLUMNS, *CHANNELS)]
    order = [*counted, ROWS, COLUMNS, *(axis for axis in CHANNELS if axis in axes)]
    return values.transpose([axes.index(axis) for axis in order]).reshape(layout)


def of_mask(axes: str, dimensions: int) -> str:
    """Returns the letters of a mask where `axes` are those of its image: without the channels if the mask has none.

    >>> of_mask("YXC", 2), of_mask("YXC", 3)
    ('YX', 'YXC')

    Args:
      axes: a letter for each dimension of the image; "" stays "".
      dimensions: number of dimensions of the mask.
    """
    without = without_channels(axes)
    return without if len(without) == dimensions else axes


def without_channels(axes: str) -> str:
    """Returns the letters that are not those of channels."""
    return "".join(axis for axis in axes if axis not in CHANNELS)


def check_letters(name: str, axes: str) -> None:
    """Checks that letters can be those of pictures.

    Args:
      name: what they are called in the error.
      axes: the letters.

    Raises:
      UserError: they hold no rows or columns, or a letter twice.
    """
    if len(set(axes)) < len(axes) or not {ROWS, COLUMNS} <= set(axes):
        raise UserError(f"{name}={axes!r} must hold Y and X, and each letter once; for example 'ZCYX'")


def _check(path: object, shape: Sequence[int], axes: str) -> None:
    if len(axes) != len(shape):
        raise UserError(
            f"{path}: has {len(shape)} dimensions, {tuple(shape)}, but axes={axes!r} names {len(axes)}; give a letter for each"
        )
    check_letters(f"{path}: axes", axes)
