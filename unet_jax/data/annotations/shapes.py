"""Fills ellipses, and makes the corners of boxes. The rule of `polygons` holds: the centres of pixels decide."""

import math
from collections.abc import Sequence

import numpy as np

from unet_jax.data.annotations import crops
from unet_jax.data.annotations.objects import Crop
from unet_jax.data.annotations.polygons import LARGEST
from unet_jax.errors import UserError


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
        return crops.EMPTY
    dy, dx = np.ogrid[top + 0.5 - y : bottom - y, left + 0.5 - x : right - x]
    along, beside = cosine * dx + sine * dy, cosine * dy - sine * dx
    return Crop((along / x_radius) ** 2 + (beside / y_radius) ** 2 <= 1, top, left)


def _cosine_sine(degrees: float) -> tuple[float, float]:
    """Returns cosine and sine, exact for multiples of 90 degrees, so that a box turned by them has no uneven sides."""
    quarter = round(degrees / 90)
    if degrees == quarter * 90:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarter % 4]
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
