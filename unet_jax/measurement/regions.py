"""Measures the objects of an image, band by band: sums over the pixels of each object, and what follows from them.

Columns bear the names and have the values of `skimage.measure.regionprops_table`. All sums but those of intensities are of whole
numbers, and pixels are added row by row, so no value depends on the bands.
"""

from collections.abc import Mapping

import numpy as np

from unet_jax.data.datasets.image_rows import ImageRows
from unet_jax.errors import UserError
from unet_jax.measurement.components import Labels
from unet_jax.measurement.convex_hull import convex_area

# What each pixel of a band takes while it is measured.
PIXEL_BYTES = 64
# The parts of a perimeter by the code of a border pixel: 1, and 2 for each neighbour of the border that shares an edge, and 10
# for each that shares a corner (Benkrid, Crookes, "Design and FPGA implementation of a perimeter estimator", 2000).
CODES = ((5, 7, 15, 17, 25, 27), (21, 33), (13, 23))
LENGTHS = np.array([1.0, np.sqrt(2.0), (1 + np.sqrt(2.0)) / 2])
_PART = np.full(50, len(CODES))
for _number, _codes in enumerate(CODES):
    _PART[list(_codes)] = _number

Columns = dict[str, np.ndarray]


def measure(labels: Labels, rows: ImageRows | None = None) -> Columns:
    """Measures every object of an image.

    Args:
      labels: the objects.
      rows: the image whose intensities are measured; None for none.

    Returns:
      By the name of the column, one value for each object `[N]`: `label`; `area`, the number of pixels; `centroid-0` and `-1`, row
      and column; `bbox-0` to `-3`, the first row and column and those after the last; `touches_border`, 1 for an object at the
      border of the image; `equivalent_diameter_area`, that of a circle of its area; `axis_major_length` and
      `axis_minor_length`, of the ellipse with its second moments; `orientation`, the angle between the axis of rows and the
      major axis, in radians, counter-clockwise; `eccentricity`; `perimeter`; `area_convex` and `solidity`; `intensity_mean`,
      `intensity_min` and `intensity_max`, with -0, -1, ... for several channels.

    Raises:
      UserError: the image is too large for sums in 64 bits.
    """
    height, width = labels.shape
    if height * width * max(height, width) ** 2 // 12 >= 2**63:
        raise UserError(f"an image of {width} x {height} pixels is too large to be measured; cut it into several")
    sums = _Sums(labels, rows.shape[2] if rows else 0)
    for start, stop in labels.bands(PIXEL_BYTES):
        # The border of an object and its neighbours on the border: two rows around the band.
        top, bottom = max(start - 2, 0), min(stop + 2, height)
        band = np.zeros((stop - start + 4, width + 2), np.uint32)
        band[top - start + 2 : bottom - start + 2, 1:-1] = labels.read(top, bottom)
        sums.add(start, band, rows.read(start, stop) if rows else None)
    return sums.columns()


class _Sums:
    """The sums over the pixels of each object.

    Args:
      labels: the objects.
      channels: of the image; 0 without one.
    """

    def __init__(self, labels: Labels, channels: int):
        self._count, self._shape = labels.count, labels.shape
        # Rows and columns are counted from the middle of the image, so that sums of squares stay small.
        self._middle = (labels.shape[0] // 2, labels.shape[1] // 2)
        names = ("area", "r", "c", "rr", "cc", "rc")
        self._of = {name: np.zeros(self._count, np.int64) for name in names}
        self._low = np.full((self._count, 2), np.iinfo(np.int64).max)
        self._high = np.full((self._count, 2), -1)
        self._parts = np.zeros((self._count, len(CODES) + 1), np.int64)
        self._intensity = np.zeros((self._count, channels))
        self._darkest = np.full((self._count, channels), np.inf)
        self._brightest = np.full((self._count, channels), -np.inf)
        # Object, row, first and last column.
        self._ends: list[np.ndarray] = [np.zeros((0, 4), np.int64)]

    def add(self, start: int, band: np.ndarray, pixels: np.ndarray | None) -> None:
        """Adds a band.

        Args:
          start: its first row.
          band: labels `[b + 4, W + 2]`, with two rows around the band and one column; 0 outside of the image.
          pixels: of the image, `[b, W, C]`.
        """
        inner = band[2:-2, 1:-1]
        self._add_runs(start, inner)
        self._add_border(band)
        if pixels is not None:
            found = inner > 0
            objects, values = inner[found] - 1, pixels[found].astype(np.float64)
            np.add.at(self._intensity, objects, values)
            np.minimum.at(self._darkest, objects, values)
            np.maximum.at(self._brightest, objects, values)

    def _add_runs(self, start: int, inner: np.ndarray) -> None:
        """Adds runs of pixels of one object in one row."""
        padded = np.pad(inner, ((0, 0), (1, 1)))
        changes = padded[:, 1:] != padded[:, :-1]
        row, first = np.nonzero(changes & (padded[:, 1:] > 0))
        _, after = np.nonzero(changes & (padded[:, :-1] > 0))
        objects = inner[row, first].astype(np.int64) - 1
        row = row + start
        np.minimum.at(self._low, objects, np.stack([row, first], -1))
        np.maximum.at(self._high, objects, np.stack([row, after - 1], -1))

        r, left, right = row - self._middle[0], first - self._middle[1], after - 1 - self._middle[1]
        num = after - first
        # The sums of the columns and of their squares over a run.
        c = num * (left + right) // 2
        cc = _sum_of_squares(right) - _sum_of_squares(left - 1)
        for name, values in (("area", num), ("r", num * r), ("c", c), ("rr", num * r * r), ("cc", cc), ("rc", r * c)):
            np.add.at(self._of[name], objects, values)

        key = (row - start) * self._count + objects
        order = np.argsort(key, kind="stable")
        begin = np.flatnonzero(np.diff(key[order], prepend=-1))
        end = np.append(begin[1:], len(order)) - 1
        one, other = order[begin], order[end[: len(begin)]]
        self._ends.append(np.stack([objects[one], row[one], first[one], after[other] - 1], -1))

    def _add_border(self, band: np.ndarray) -> None:
        """Adds the parts of the perimeters."""
        middle = band[1:-1, 1:-1]
        border = np.zeros(band.shape, bool)
        border[1:-1, 1:-1] = (middle > 0) & (
            (band[:-2, 1:-1] != middle)
            | (band[2:, 1:-1] != middle)
            | (band[1:-1, :-2] != middle)
            | (band[1:-1, 2:] != middle)
        )
        row, column = np.nonzero(border[2:-2])
        row = row + 2
        objects = band[row, column]
        code = np.ones(len(row), np.int64)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                if down or right:
                    near = (row + down, column + right)
                    code += (10 if down and right else 2) * (border[near] & (band[near] == objects))
        np.add.at(self._parts, (objects.astype(np.int64) - 1, _PART[code]), 1)

    def columns(self) -> Columns:
        """Returns the measurements; see `measure`."""
        area, low, high = self._of["area"], self._low, self._high + 1
        columns: Columns = {"label": np.arange(1, self._count + 1), "area": area}
        for axis, name in enumerate(("r", "c")):
            columns[f"centroid-{axis}"] = self._of[name] / area + self._middle[axis]
        for side, values in enumerate((*low.T, *high.T)):
            columns[f"bbox-{side}"] = values
        at_border = (low == 0).any(1) | (high == self._shape).any(1)
        columns["touches_border"] = at_border.astype(np.int64)
        columns["equivalent_diameter_area"] = np.sqrt(4 * area / np.pi)
        columns |= _of_moments(self._of)
        columns["perimeter"] = self._parts[:, : len(CODES)] @ LENGTHS
        columns["area_convex"] = self._convex_areas()
        columns["solidity"] = area / columns["area_convex"]
        channels = self._intensity.shape[1]
        for channel in range(channels):
            suffix = f"-{channel}" if channels > 1 else ""
            columns[f"intensity_mean{suffix}"] = self._intensity[:, channel] / area
            columns[f"intensity_min{suffix}"] = self._darkest[:, channel]
            columns[f"intensity_max{suffix}"] = self._brightest[:, channel]
        return columns

    def _convex_areas(self) -> np.ndarray:
        ends = np.concatenate(self._ends)
        # Bands follow each other, so the rows of an object stay in order.
        ends = ends[np.argsort(ends[:, 0], kind="stable")]
        of_objects = np.split(ends, np.flatnonzero(np.diff(ends[:, 0])) + 1) if self._count else []
        return np.array([convex_area(rows[:, 2], rows[:, 3]) for rows in of_objects], np.int64)


def _sum_of_squares(last: np.ndarray) -> np.ndarray:
    """Returns 1 + 4 + 9 + ... + last²; the difference of two gives the sum between them, for numbers below 0, too."""
    return last * (last + 1) * (2 * last + 1) // 6


def _of_moments(sums: Mapping[str, np.ndarray]) -> Columns:
    """Returns axes, orientation and eccentricity from sums over rows r and columns c.

    Differences of large sums are taken of Python's whole numbers, so nothing is lost.
    """
    n, r, c, rr, cc, rc = (sums[name].astype(object) for name in ("area", "r", "c", "rr", "cc", "rc"))
    # The second central moments, times n².
    rows, columns, mixed = n * rr - r * r, n * cc - c * c, n * rc - r * c
    square = n * n
    var_r, var_c, covariance, both, product = (
        np.array(list(values), np.float64)
        for values in (
            rows / square,
            columns / square,
            mixed / square,
            (rows + columns) / square,
            (rows * columns - mixed * mixed) / (square * square),
        )
    )
    largest = both / 2 + np.hypot((var_r - var_c) / 2, covariance)
    # Their product is the determinant.
    smallest = np.divide(product, largest, out=np.zeros_like(largest), where=largest > 0)
    diagonal = np.where(covariance > 0, np.pi / 4, -np.pi / 4)
    orientation = np.where(var_r == var_c, diagonal, 0.5 * np.arctan2(2 * covariance, var_r - var_c))
    ratio = np.divide(smallest, largest, out=np.ones_like(largest), where=largest > 0)
    return {
        "axis_major_length": 4 * np.sqrt(largest),
        "axis_minor_length": 4 * np.sqrt(smallest),
        "orientation": orientation,
        "eccentricity": np.sqrt(np.maximum(1 - ratio, 0)),
    }
