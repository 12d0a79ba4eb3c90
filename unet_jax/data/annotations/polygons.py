"""Fills polygons. One rule holds for all formats: a pixel belongs to a polygon if its centre lies inside.

Coordinates are pixels: (0, 0) is the upper left corner of the first pixel, whose centre is (0.5, 0.5); x points to the right, y
down. So a square from 2 to 12 covers 10 x 10 pixels. A centre on a left or an upper edge is outside, one on a right or a lower
edge inside, so polygons that share an edge never share a pixel: a square from 2.5 to 12.5 covers the pixels 3..12. pycocotools
and ImageJ have this rule. OpenCV, Pillow and scikit-image also cover the pixels under the outline: 121 for the first square.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from unet_jax.data.annotations.objects import Crop
from unet_jax.errors import UserError

# Pixels; no image has such a side. Products of coordinates below it are exact, for halves too.
LARGEST = 2.0**24


def to_ring(points: Any, name: str) -> np.ndarray:
    """Returns the corners of a polygon, float64 `[N, 2]` (x, y).

    Args:
      points: pairs of numbers, or a flat list x, y, x, y, ...
      name: names the polygon in errors, with its file.

    Raises:
      UserError: there are fewer than three corners, or a number is not finite or too large.
    """
    try:
        ring = np.asarray(points, np.float64)
        ring = ring.reshape(-1, 2) if ring.ndim == 1 else ring
    except (TypeError, ValueError):
        ring = np.zeros((0, 0))
    if ring.ndim != 2 or ring.shape[1] != 2:
        raise UserError(f"{name}: its points are not pairs of numbers x, y; correct them or remove the object")
    if len(ring) < 3:
        raise UserError(f"{name}: has {len(ring)} points, a polygon has at least 3; complete it or remove the object")
    if not (np.abs(ring) < LARGEST).all():
        wrong = ring[~(np.abs(ring) < LARGEST).all(1)][0].tolist()
        raise UserError(f"{name}: the point {wrong} is not in any image; correct it or remove the object")
    return ring


def fill(rings: Sequence[np.ndarray], size: tuple[int, int], points: str = "corners") -> Crop:
    """Returns the pixels inside rings.

    All rings count together, by the even-odd rule: a pixel is inside if a ray from its centre crosses an odd number of edges.
    So a ring in a ring is a hole, and the middle of an outline that crosses itself is empty. Direction and first corner do not
    matter.

    >>> square = np.array([[2, 2], [12, 2], [12, 12], [2, 12]], float)
    >>> fill([square], (20, 20)).mask.shape
    (10, 10)
    >>> fill([square], (20, 20), points="centres").mask.shape
    (11, 11)

    Args:
      rings: the corners of each ring, as from `to_ring`; the last one is joined with the first.
      size: height and width of the image; what lies outside is cut off.
      points: "corners" for the rule above. "centres" if the corners are the centres of the outermost pixels, numbered from 0,
        as supervision and datumaro write them from masks: they are rounded, and the pixels under the outline are covered.

    Returns:
      The pixels, cut to the smallest box around the rings; a mask of 0 x 0 if that lies outside the image.
    """
    if points == "centres":
        return _draw(rings, size)
    first, second = np.concatenate([np.stack([ring, np.roll(ring, -1, axis=0)]) for ring in rings], axis=1)
    # Each edge runs down, so that two polygons compute a shared edge alike.
    down = (first[:, 1] < second[:, 1])[:, None]
    (x0, y0), (x1, y1) = np.where(down, first, second).T, np.where(down, second, first).T
    # The rows whose centres an edge crosses, y0 < centre <= y1.
    start = np.clip(_after(y0), 0, size[0])
    count = np.clip(_after(y1), 0, size[0]) - start
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + start[edge]
    x0, y0, x1, y1 = (values[edge] for values in (x0, y0, x1, y1))
    # One division at the end: the crossing is exact where the coordinates are whole or half.
    crossing = (x0 * (y1 - y0) + (row + 0.5 - y0) * (x1 - x0)) / (y1 - y0)
    column = np.clip(_after(crossing), 0, size[1])
    if not len(row) or column.min() == column.max():
        return Crop(np.zeros((0, 0), bool), 0, 0)
    top, left = int(row.min()), int(column.min())
    # From each crossing on, to the right, inside and outside change places.
    changes = np.zeros((int(row.max()) + 1 - top, int(column.max()) + 1 - left), np.uint8)
    np.bitwise_xor.at(changes, (row - top, column - left), np.uint8(1))
    inside = np.bitwise_xor.accumulate(changes, axis=1, dtype=np.uint8)
    return Crop(inside[:, :-1].astype(bool), top, left)


def _after(position: np.ndarray) -> np.ndarray:
    """Returns the number of the first pixel whose centre lies behind a position."""
    return np.floor(position - 0.5).astype(np.int64) + 1


def _draw(rings: Sequence[np.ndarray], size: tuple[int, int]) -> Crop:
    """Returns the pixels inside and under the outlines of rings whose corners are centres of pixels."""
    corners = [np.rint(ring).astype(np.int64) for ring in rings]
    points = np.concatenate(corners)
    left, top = np.maximum(points.min(0), 0)
    right, bottom = np.minimum(points.max(0) + 1, (size[1], size[0]))
    if right <= left or bottom <= top:
        return Crop(np.zeros((0, 0), bool), 0, 0)
    drawn = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(drawn, [(ring - (left, top)).astype(np.int32) for ring in corners], 1)
    return Crop(drawn.astype(bool), int(top), int(left))
