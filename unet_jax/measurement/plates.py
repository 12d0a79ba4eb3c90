"""Finds the plates of an electrode stack: polarity, place in the stack, tip, and the overhang over the neighbours.

The plates of a stack lie side by side. Each is a bar in the image: it begins at its root, at the border of the image or inside the
stack, and ends at its tip. Plates of two kinds alternate. All is computed in a frame in which plates run along the
rows of the array and the tips point to the last column; `frame` finds the view of the image that has it so.

- *Plate*: the pixels of one class that are connected, diagonals included. Pieces of which one continues the other are one plate.
- *Tip*: where the profile of the plate falls to half. The profile is the sum of the probability across the plate, for
  each column; its height is the median over the last columns before the end. Between two columns it is interpolated, so the
  tip has a fraction of a pixel. A mask of zeros and ones is a probability, too.
- *Overhang* of an anode over a neighbouring cathode: the distance by which its tip lies farther out, along the plates.
  It is negative where the cathode reaches farther.

Positions are in pixels; the centre of a pixel lies at whole numbers.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from unet_jax.inference.views import View

# Columns before the end of a plate that give the height of its profile, and the line through its end.
HEIGHT_OF = slice(-24, -3)
LINE_OF = 12
# Columns of each piece that say whether one continues the other, and the steepest slope that is believed there.
JOINED_BY = 14
STEEPEST = 0.25
# A piece inside the image that neither reaches the root nor this part of a usual plate is no plate.
SMALLEST = 0.35
EVERYWHERE = np.ones((3, 3), bool)


@dataclasses.dataclass(frozen=True)
class Plate:
    """One plate.

    Attributes:
      kind: the number of its class among those of plates.
      reach: the column of the tip in the frame, in pixels; the larger, the farther out. None if the tip is not in the image.
      tip: (x, y) of the tip in the image; None if it is not in the image.
      angle: of the end in degrees, against the rows of the frame.
      thickness: across the plate in pixels, the median over its columns.
      area: in pixels.
      length: in pixels, from the first to the last column.
      row: of its middle, which gives the order in the stack.
    """

    kind: int
    reach: float | None
    tip: tuple[float, float] | None
    angle: float
    thickness: float
    area: int
    length: int
    row: float


class Overhang(NamedTuple):
    """How far one plate of the first kind reaches beyond a neighbour of the other kind.

    Attributes:
      anode: the place of the plate in the list.
      cathode: that of its neighbour.
      distance: in pixels; negative where the neighbour reaches farther.
    """

    anode: int
    cathode: int
    distance: float


def find_plates(
    probabilities: np.ndarray, channels: Sequence[int], stack: int | None = None
) -> tuple[list[Plate], np.ndarray]:
    """Finds the plates of an image.

    Args:
      probabilities: of all classes, `[H, W, K]`; one-hot for a mask of class ids.
      channels: the channels of the two kinds of plates; or of one.
      stack: the channel of a class from which the plates come out; None if they come from the border of the image.

    Returns:
      The plates, in the order of the stack: from top to bottom, or from left to right if they stand upright; and their pixels, uint16
      `[H, W]`: 0, or the place in the list plus 1.
    """
    best = probabilities.argmax(-1)
    masks = np.stack([best == channel for channel in channels])
    view = frame(masks.any(0), None if stack is None else best == stack)
    found = []
    for kind, channel in enumerate(channels):
        probability = view.apply(probabilities[..., channel])
        for region in _pieces(view.apply(masks[kind])):
            found.append((region, _measure(region, probability, kind, view)))
    found.sort(key=lambda pair: pair[1].row)
    labels = np.zeros(best.shape, np.uint16)
    for number, (region, _) in enumerate(found, 1):
        view.apply(labels)[region] = number
    return [plate for _, plate in found], labels


def overhangs(plates: Sequence[Plate]) -> list[Overhang]:
    """Returns the overhang of each plate of kind 0 over each neighbour of kind 1, where both tips are in the image."""
    pairs = []
    for place, (upper, lower) in enumerate(zip(plates, plates[1:], strict=False)):
        if upper.kind == lower.kind or upper.reach is None or lower.reach is None:
            continue
        anode, cathode = (place, place + 1) if upper.kind == 0 else (place + 1, place)
        distance = upper.reach - lower.reach
        pairs.append(Overhang(anode, cathode, distance if upper.kind == 0 else -distance))
    return pairs


def frame(plates: np.ndarray, stack: np.ndarray | None = None) -> View:
    """Returns the view in which plates run along the rows and their tips point to the last column.

    Args:
      plates: the pixels of all plates, bool `[H, W]`.
      stack: the pixels from which they come out; None if they come from a border of the image.
    """
    transposed = _mean_run(plates.T) > _mean_run(plates)
    view = View(transposed=bool(transposed))
    seen = view.apply(plates)
    if stack is not None and stack.any() and plates.any():
        mean = [np.nonzero(view.apply(pixels))[1].mean() for pixels in (plates, stack)]
        mirrored = mean[0] < mean[1]
    else:
        mirrored = seen[:, -1].sum() > seen[:, 0].sum()
    return dataclasses.replace(view, left_right=bool(mirrored))


def _mean_run(pixels: np.ndarray) -> float:
    """Returns the mean length of the runs of pixels along the rows."""
    starts = np.diff(pixels.astype(np.int8), axis=1, prepend=0) == 1
    return float(pixels.sum() / max(starts.sum(), 1))


def _pieces(mask: np.ndarray) -> list[np.ndarray]:
    """Returns the pixels of each plate of one kind, bool `[H, W]`."""
    labels, number = ndimage.label(mask, EVERYWHERE)
    pieces = _joined([labels == label for label in range(1, number + 1)])
    usual = np.median([piece.sum() for piece in pieces]) if pieces else 0
    return [piece for piece in pieces if _cut_by_border(piece) or piece[:, 0].any() or piece.sum() >= SMALLEST * usual]


def _cut_by_border(piece: np.ndarray) -> bool:
    return bool(piece[0].any() or piece[-1].any())


def _joined(pieces: list[np.ndarray]) -> list[np.ndarray]:
    """Joins the pieces of which one continues the other, the nearest first."""
    waiting, done = sorted(pieces, key=lambda piece: int(piece.any(0).argmax())), []
    while waiting:
        piece = waiting.pop(0)
        while True:
            gaps = {number: gap for number, other in enumerate(waiting) if (gap := _gap(piece, other)) is not None}
            if not gaps:
                break
            piece = piece | waiting.pop(min(gaps, key=gaps.__getitem__))
        done.append(piece)
    return done


def _gap(piece: np.ndarray, other: np.ndarray) -> int | None:
    """Returns the columns between two pieces; None if the second does not continue the first."""
    columns, others = np.flatnonzero(piece.any(0)), np.flatnonzero(other.any(0))
    gap = int(others[0] - columns[-1])
    if gap < -3:
        return None
    middle = (others[0] + columns[-1]) / 2
    rows = [
        _row_at(piece, columns[-JOINED_BY:], middle, columns[-1]),
        _row_at(other, others[:JOINED_BY], middle, others[0]),
    ]
    thickness = max(np.median(pixels.sum(0)[known]) for pixels, known in ((piece, columns), (other, others)))
    return gap if abs(rows[0] - rows[1]) <= 0.75 * thickness + 0.05 * abs(gap) else None


def _row_at(piece: np.ndarray, columns: np.ndarray, column: float, end: int) -> float:
    """Returns the row at a column beyond the end of a piece, on the line through its middle."""
    slope, row = _line(piece, columns, end)
    return row + float(np.clip(slope, -STEEPEST, STEEPEST)) * (column - end)


def _line(piece: np.ndarray, columns: np.ndarray, end: float) -> tuple[float, float]:
    """Returns the slope of the line through the middle of a piece, and its row at the column `end`."""
    part = piece[:, columns]
    middle = (part * np.arange(len(piece))[:, None]).sum(0) / part.sum(0)
    if len(columns) < 4:
        return 0.0, float(middle.mean())
    slope, row = np.polyfit(columns - end, middle, 1)
    return float(slope), float(row)


def _measure(region: np.ndarray, probability: np.ndarray, kind: int, view: View) -> Plate:
    columns = np.flatnonzero(region.any(0))
    thickness = region.sum(0)[columns]
    middle = (region * np.arange(len(region))[:, None]).sum(0)[columns] / thickness
    slope, row = _line(region, columns[-LINE_OF:], columns[-1])
    reach = _reach(region, probability, columns)
    tip = None
    if reach is not None:
        height, width = region.shape
        x, y = reach, float(row + slope * (reach - columns[-1]))
        x = width - 1 - x if view.left_right else x
        tip = (y, x) if view.transposed else (x, y)
    return Plate(
        kind=kind,
        reach=reach,
        tip=tip,
        angle=float(np.degrees(np.arctan(slope))),
        thickness=float(np.median(thickness)),
        area=int(region.sum()),
        length=int(columns[-1] - columns[0] + 1),
        row=float(np.median(middle)),
    )


def _reach(region: np.ndarray, probability: np.ndarray, columns: np.ndarray) -> float | None:
    """Returns the column at which the profile of a plate falls to half; None if its end is not in the image."""
    last, width = int(columns[-1]), region.shape[1]
    at_end = region[:, max(last - 4, 0) :]
    if last == width - 1 or at_end[0].any() or at_end[-1].any():
        return None
    near = ndimage.binary_dilation(region, np.ones((3, 5), bool))
    profile = np.where(near, probability, 0).sum(0)
    of_end = profile[columns][HEIGHT_OF]
    half = float(np.median(of_end if of_end.size else profile[columns])) / 2
    inner = int(np.flatnonzero(profile >= half)[-1])
    if inner == width - 1:
        return None
    fall = profile[inner] - profile[inner + 1]
    return inner + float((profile[inner] - half) / fall)
