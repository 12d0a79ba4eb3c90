"""Fills shapes that are not polygons, and joins and cuts pixels. The rule of `polygons` holds: the centres of pixels decide."""

import math
from collections.abc import Sequence

import numpy as np

from unet_jax.data.annotations.objects import Crop
from unet_jax.data.annotations.polygons import LARGEST
from unet_jax.errors import UserError

NOTHING = Crop(np.zeros((0, 0), bool), 0, 0)


def box_ring(
    left: float, top: float, right: float, bottom: float, degrees: float = 0, about: Sequence[float] = ()
) -> np.ndarray:
    """Returns the corners of a box, float64 `[4, 2]` (x, y).

    >>> box_ring(0, 0, 2, 4).tolist()
    [[0.0, 0.0], [2.0, 0.0], [2.0, 4.0], [0.0, 4.0]]

    Args:
      left: its left side in pixels.
      top: its upper side.
      right: its right side.
      bottom: its lower side.
      degrees: the angle by which it is turned, clockwise on the screen.
      about: the point (x, y) that stays where it is; () is the centre.
    """
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    if not degrees:
        return corners
    pivot = np.array(about if len(about) else [(left + right) / 2, (top + bottom) / 2], np.float64)
    cosine, sine = _cosine_sine(degrees)
    x, y = (corners - pivot).T
    return pivot + np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1)


def fill_ellipse(
    x: float, y: float, x_radius: float, y_radius: float, size: tuple[int, int], degrees: float = 0, name: str = ""
) -> Crop:
    """Returns the pixels whose centres lie in an ellipse or on its line.

    >>> int(fill_ellipse(10, 10, 5, 5, (20, 20)).mask.sum())
    80

    Args:
      x: of its centre, in pixels.
      y: of its centre.
      x_radius: half its width before it is turned.
      y_radius: half its height before it is turned.
      size: height and width of the image; what lies outside is cut off.
      degrees: the angle by which it is turned about its centre, clockwise on the screen.
      name: names it in errors, with its file.

    Raises:
      UserError: a radius is not above 0, or a number is not finite or too large.
    """
    numbers = (x, y, x_radius, y_radius, degrees)
    if not all(abs(number) < LARGEST for number in numbers) or min(x_radius, y_radius) <= 0:
        raise UserError(
            f"{name}: centre {x}, {y} and radii {x_radius}, {y_radius} are no ellipse; correct it or remove the object"
        )
    cosine, sine = _cosine_sine(degrees)
    across, down = math.hypot(x_radius * cosine, y_radius * sine), math.hypot(x_radius * sine, y_radius * cosine)
    top, bottom = max(0, math.floor(y - down)), min(size[0], math.ceil(y + down))
    left, right = max(0, math.floor(x - across)), min(size[1], math.ceil(x + across))
    if top >= bottom or left >= right:
        return NOTHING
    dy, dx = np.ogrid[top + 0.5 - y : bottom - y, left + 0.5 - x : right - x]
    along, beside = cosine * dx + sine * dy, cosine * dy - sine * dx
    return Crop((along / x_radius) ** 2 + (beside / y_radius) ** 2 <= 1, top, left)


def cut(mask: np.ndarray, top: int, left: int, size: tuple[int, int]) -> Crop:
    """Returns the part of a mask that lies in the image, without empty rows and columns around it.

    Args:
      mask: bool `[h, w]`.
      top: row of the image at which its first row lies; it may lie outside.
      left: column of the image at which its first column lies.
      size: height and width of the image.
    """
    mask = mask[max(-top, 0) : max(size[0] - top, 0), max(-left, 0) : max(size[1] - left, 0)]
    top, left = max(top, 0), max(left, 0)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return NOTHING
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Crop(inner, top + int(rows[0]), left + int(columns[0]))


def union(crops: Sequence[Crop]) -> Crop:
    """Returns the pixels that lie in one of several crops or in more."""
    crops = [crop for crop in crops if crop.mask.size]
    if len(crops) < 2:
        return crops[0] if crops else NOTHING
    top, left = min(crop.top for crop in crops), min(crop.left for crop in crops)
    bottom = max(crop.top + crop.mask.shape[0] for crop in crops)
    right = max(crop.left + crop.mask.shape[1] for crop in crops)
    mask = np.zeros((bottom - top, right - left), bool)
    for part, row, column in crops:
        mask[row - top : row - top + part.shape[0], column - left : column - left + part.shape[1]] |= part
    return Crop(mask, top, left)


def _cosine_sine(degrees: float) -> tuple[float, float]:
    """Returns cosine and sine, exact for multiples of 90 degrees, so that a box turned by them has no uneven sides."""
    quarter = round(degrees / 90)
    if degrees == quarter * 90:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarter % 4]
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
