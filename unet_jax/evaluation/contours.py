"""Distances between the contours of a true and a predicted mask, in pixels or in units of length.

The contour runs through the corners between pixels, where the four pixels around a corner are not all inside or all outside
the mask. What lies beyond the image is outside the mask. A corner stands for the piece of the contour that crosses it: a side
of a pixel, or half a diagonal. These are the definitions of DeepMind's surface-distance (Nikolov 2018), and the results are equal
to its own.

- NSD, the normalised surface Dice at a tolerance (Nikolov 2018): the fraction of both contours whose distance to the other one
  is at most the tolerance.
- HD95, the robust Hausdorff distance: the distance that 95 % of a contour keep to the other one; the larger of both directions.
- ASSD, the average symmetric surface distance: the mean distance of both contours to the other one, weighted by length.

Empty masks: where neither mask has a contour, every score is NaN and is left out of means. Where only one has: NSD is 0, and HD95
and ASSD are infinite, as nothing is near. Means over images put `diagonal`, the largest distance in the image, in place of
infinity, so an image in which nothing was found counts as bad and is never left out; see `finite`.

Void pixels are outside both masks. Corners at a void pixel are not counted, because the true contour is unknown there; the
distances of other corners to them are.

>>> true = np.zeros((40, 40), bool)
>>> true[10:30, 10:30] = True
>>> moved = measure(true, np.roll(true, 3, axis=1))
>>> round(nsd(moved, 1), 2), round(nsd(moved, 3), 2), hd95(moved), round(assd(moved), 2)
(0.5, 1.0, 3.0, 1.5)
>>> hd95(measure(true, np.roll(true, 3, axis=1), spacing=(0.5, 0.5)))
1.5
>>> missed = measure(true, np.zeros_like(true))
>>> nsd(missed, 1), hd95(missed), round(float(finite(hd95(missed), diagonal(40, 40))), 1)
(0.0, inf, 56.6)
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

PIXELS = (1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class ContourDistances:
    """The distance of each piece of a contour to the other contour, ascending, and the length of the piece.

    Attributes:
      true: distances of the true contour to the predicted one, float64 `[T]`; infinite where there is none.
      true_lengths: float64 `[T]`.
      predicted: distances of the predicted contour to the true one, float64 `[P]`; infinite where there is none.
      predicted_lengths: float64 `[P]`.
    """

    true: np.ndarray
    true_lengths: np.ndarray
    predicted: np.ndarray
    predicted_lengths: np.ndarray


def measure(
    true: np.ndarray, predicted: np.ndarray, valid: np.ndarray | None = None, spacing: Sequence[float] = PIXELS
) -> ContourDistances:
    """Measures the distances between the contours of two masks.

    Args:
      true: bool `[H, W]`.
      predicted: bool `[H, W]`.
      valid: False for void pixels, bool `[H, W]`; None if there are none.
      spacing: height and width of a pixel; distances and lengths have its unit. By default they are in pixels.
    """
    known = np.ones(true.shape, bool) if valid is None else valid
    masks = [mask & known for mask in (true, predicted)]
    window = _bounding_box(masks[0] | masks[1])
    # Void may touch the window from outside.
    counted = _corners(~known)[tuple(slice(side.start, side.stop + 1) for side in window)] == 0
    codes = [_corners(mask[window]) for mask in masks]
    contours = [(code > 0) & (code < 15) for code in codes]
    distances = [_distance_to(contour, spacing) for contour in contours]
    lengths = _lengths(spacing)
    results = []
    for code, contour, to_other in zip(codes, contours, reversed(distances), strict=True):
        pieces = contour & counted
        order = np.lexsort((lengths[code[pieces]], to_other[pieces]))
        results += [to_other[pieces][order], lengths[code[pieces]][order]]
    return ContourDistances(*results)


def nsd(distances: ContourDistances, tolerance: float) -> float:
    """Returns the fraction of both contours that is at most `tolerance` from the other one; NaN without any contour."""
    near, whole = nsd_lengths(distances, tolerance)
    return near / whole if whole else math.nan


def nsd_lengths(distances: ContourDistances, tolerance: float) -> tuple[float, float]:
    """Returns the length of both contours that is at most `tolerance` from the other one, and their whole length.

    Those of several images add up to their pooled NSD.
    """
    near = distances.true_lengths[distances.true <= tolerance].sum()
    near += distances.predicted_lengths[distances.predicted <= tolerance].sum()
    return float(near), float(distances.true_lengths.sum() + distances.predicted_lengths.sum())


def hd95(distances: ContourDistances, fraction: float = 0.95) -> float:
    """Returns the larger of the two distances that `fraction` of a contour keeps; NaN without any contour.

    Infinite where only one mask has a contour.
    """
    if not len(distances.true) and not len(distances.predicted):
        return math.nan
    both = ((distances.true, distances.true_lengths), (distances.predicted, distances.predicted_lengths))
    return max(_quantile(*one, fraction) for one in both)


def assd(distances: ContourDistances) -> float:
    """Returns the mean distance of both contours, weighted by length; NaN without any contour.

    Infinite where only one mask has a contour.
    """
    values = np.concatenate([distances.true, distances.predicted])
    lengths = np.concatenate([distances.true_lengths, distances.predicted_lengths])
    return float((values * lengths).sum() / lengths.sum()) if len(values) else math.nan


def diagonal(height: int, width: int, spacing: Sequence[float] = PIXELS) -> float:
    """Returns the diagonal of an image, in the unit of `spacing`: no two contours in it are farther from each other."""
    return math.hypot(height * spacing[0], width * spacing[1])


def finite(distances: ArrayLike, diagonals: ArrayLike) -> np.ndarray:
    """Returns HD95 or ASSD of images with the image's diagonal in place of infinity; NaN stays."""
    return np.where(np.isinf(distances), diagonals, distances)


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Returns the window with all pixels of a mask; an empty one for an empty mask."""
    window = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis))
        window.append(slice(places[0], places[-1] + 1) if len(places) else slice(0, 0))
    return tuple(window)


def _corners(mask: np.ndarray) -> np.ndarray:
    """Returns which of the four pixels around each corner are inside: 8, 4, 2, 1 for those in reading order, `[H + 1, W + 1]`."""
    inside = np.pad(mask, 1).astype(np.uint8)
    return 8 * inside[:-1, :-1] + 4 * inside[:-1, 1:] + 2 * inside[1:, :-1] + inside[1:, 1:]


def _lengths(spacing: Sequence[float]) -> np.ndarray:
    """Returns the length of the contour at a corner by its code, float64 `[16]`."""
    height, width = spacing
    # Cuts off one pixel of four.
    half = math.sqrt(height**2 + width**2) / 2
    lengths = np.full(16, half)
    lengths[[0b0000, 0b1111]] = 0
    lengths[[0b0011, 0b1100]] = width
    lengths[[0b0101, 0b1010]] = height
    lengths[[0b0110, 0b1001]] = 2 * half
    return lengths


def _distance_to(contour: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Returns the distance of each corner to the nearest one of a contour, float64; infinite where there is none."""
    if not contour.any():
        return np.full(contour.shape, np.inf)
    return ndimage.distance_transform_edt(~contour, sampling=spacing)


def _quantile(distances: np.ndarray, lengths: np.ndarray, fraction: float) -> float:
    """Returns the distance that `fraction` of the length keeps; infinite without any."""
    if not len(distances):
        return math.inf
    below = np.cumsum(lengths) / lengths.sum()
    return float(distances[min(int(np.searchsorted(below, fraction)), len(distances) - 1)])
