"""Outlines of objects along the sides of their pixels, so that a polygon has exactly the area of its object."""

from collections.abc import Sequence

import numpy as np
import skimage.measure

from unet_jax.inference.large.scratch import band_rows
from unet_jax.measurement.components import Labels

# A corner of pixels: its column and row. That of the image's upper left pixel is (0, 0).
Point = tuple[int, int]
Ring = list[Point]
# A ring around, and rings around holes.
Polygon = list[Ring]

# The steps (column, row) along the sides of a pixel, clockwise on the screen: along the top, right, bottom and left side.
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
# Where the sides of the pixel (column, row) begin.
BEGINS = ((0, 0), (1, 0), (1, 1), (0, 1))
# From where a side begins, the middle of its pixel.
MIDDLES = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))
# What a pixel takes while its sides are looked for.
PIXEL_BYTES = 16


def trace(labels: Labels, number: int, box: Sequence[int]) -> list[Polygon]:
    """Returns the outline of an object.

    No ring crosses or touches itself, as QuPath and other readers demand. An object whose parts share only corners has several
    polygons, which touch there.

    >>> trace(Labels.of(np.array([[1, 1]])), 1, (0, 0, 1, 2))
    [[[(0, 0), (2, 0), (2, 1), (0, 1)]]]

    Args:
      labels: the objects.
      number: of the object, from 1.
      box: its first row and column, and those after the last.

    Returns:
      Polygons; rings are not closed: their last point is not the first one again.
    """
    starts, directions = _sides(labels, number, box)
    exteriors: list[Ring] = []
    holes: list[Ring] = []
    for ring in _rings(starts, directions, box):
        (exteriors if _area(ring) > 0 else holes).append(ring)
    polygons = [[ring] for ring in exteriors]
    # The smallest first, so that a hole goes to the innermost polygon around it.
    by_size = sorted(polygons, key=lambda polygon: _area(polygon[0]))
    for hole in holes:
        around = by_size[0]
        if len(by_size) > 1:
            point = _pixel_beside(hole)
            around = next(one for one in by_size if skimage.measure.points_in_poly([point], one[0])[0])
        around.append(hole)
    return polygons


def _sides(labels: Labels, number: int, box: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sides of pixels between an object and its outside, each with the object on its right.

    Returns:
      Where they begin, column and row `[n, 2]`, and their directions `[n]`, the index of `STEPS`.
    """
    top, left, bottom, right = box
    starts, directions = [], []
    for first, last in band_rows(bottom - top, PIXEL_BYTES * (right - left)):
        above, below = max(top + first - 1, 0), min(top + last + 1, labels.shape[0])
        mask = np.zeros((last - first + 2, right - left + 2), bool)
        rows = slice(above - (top + first - 1), below - (top + first - 1))
        mask[rows, 1:-1] = labels.read(above, below)[:, left:right] == number
        inner = mask[1:-1, 1:-1]
        outside = (mask[:-2, 1:-1], mask[1:-1, 2:], mask[2:, 1:-1], mask[1:-1, :-2])
        for direction, neighbour in enumerate(outside):
            row, column = np.nonzero(inner & ~neighbour)
            begin = BEGINS[direction]
            starts.append(np.stack([column + left + begin[0], row + top + first + begin[1]], -1))
            directions.append(np.full(len(row), direction))
    return np.concatenate(starts), np.concatenate(directions)


def _rings(starts: np.ndarray, directions: np.ndarray, box: Sequence[int]) -> list[Ring]:
    """Joins sides to rings without repeated points, each with its corners only."""
    top, left, _, right = box
    width = right - left + 1

    def key(points: np.ndarray, leaving: np.ndarray) -> np.ndarray:
        return ((points[:, 1] - top) * width + points[:, 0] - left) * 4 + leaving

    keys = key(starts, directions)
    order = np.argsort(keys)
    starts, directions, keys = starts[order], directions[order], keys[order]
    ends = starts + np.asarray(STEPS)[directions]
    # A turn to the right stays at the same pixel, so pixels that share only a corner are parted.
    following = np.full(len(keys), -1)
    for turn in (3, 0, 1):
        wanted = key(ends, (directions + turn) % 4)
        index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        following = np.where(keys[index] == wanted, index, following)
    turns = (directions[following] != directions).tolist()
    after, points = following.tolist(), list(map(tuple, starts.tolist()))

    rings = []
    seen = [False] * len(points)
    for begin in range(len(points)):
        ring: Ring = []
        side = begin
        while not seen[side]:
            seen[side] = True
            if turns[side]:
                ring.append(points[after[side]])
            side = after[side]
        if ring:
            # The last corner is where the ring began: at its first row.
            rings += _without_repeats([ring[-1], *ring[:-1]])
    return rings


def _without_repeats(ring: Ring) -> list[Ring]:
    """Cuts a ring at each point that it passes twice."""
    if len(set(ring)) == len(ring):
        return [ring]
    rings: list[Ring] = []
    path: Ring = []
    position: dict[Point, int] = {}
    for point in ring:
        if point in position:
            begin = position[point]
            rings.append(path[begin:])
            for passed in path[begin + 1 :]:
                del position[passed]
            del path[begin + 1 :]
        else:
            position[point] = len(path)
            path.append(point)
    return [*rings, path]


def _area(ring: Ring) -> float:
    """Returns the area in a ring, above 0 if it runs clockwise on the screen: around an object, not a hole."""
    points = np.asarray(ring, np.int64)
    following = np.roll(points, -1, 0)
    return float((points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum()) / 2


def _pixel_beside(ring: Ring) -> tuple[float, float]:
    """Returns the middle of a pixel of the object, which lies on the right of the ring."""
    (x, y), (next_x, next_y) = ring[0], ring[1]
    step = (int(np.sign(next_x - x)), int(np.sign(next_y - y)))
    middle = MIDDLES[STEPS.index(step)]
    return x + middle[0], y + middle[1]
