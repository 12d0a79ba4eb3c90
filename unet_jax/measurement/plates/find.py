"""Finds the plates of an electrode stack: polarity, place in the stack, and the tip to a fraction of a pixel.

The plates of a stack lie side by side. Each is a bar in the image: it begins at its root, at the border of the image or inside the
stack, and ends at its tip. Plates of two kinds alternate. All is computed in a frame in which plates run along the
rows of the array and the tips point to the last column; `frame` finds the view of the image that has it so.

- *Plate*: the pixels of one class that are connected, diagonals included. Pieces of which one continues the other are one plate.
- *Tip*: where the profile of the plate falls to half. The profile is the sum of the probability across the plate, for
  each column; its height is the median over the last columns before the end. Between two columns it is interpolated, so the
  tip has a fraction of a pixel. A mask of zeros and ones is a probability, too.

Positions are in pixels; the centre of a pixel lies at whole numbers.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from unet_jax.inference.views import View
from unet_jax.measurement.plates.choose import choose
from unet_jax.measurement.plates.pieces import Piece, find_pieces

# Columns before the end of a plate that give the height of its profile, and the line through its end.
HEIGHT_OF = slice(-24, -3)
LINE_OF = 12
# A plate is folded if a column of its end, these many, extends over more rows than so many times its thickness. Of the folded plates
# of `electrodes`, 67 % do so in true masks, and 0.2 % of the others. Networks smooth most folds away.
FOLD_IN, FOLDED = 25, 1.4


@dataclasses.dataclass(frozen=True)
class Plate:
    """One plate.

    Attributes:
      kind: the number of its class among those of plates.
      reach: the column of the tip in the frame, in pixels; the larger, the farther out. None if the tip is not in the image.
      tip: (x, y) of the tip in the image; None if it is not in the image.
      fall: columns in which the profile falls from three quarters to a quarter of its height; NaN if the tip is not in the image.
      angle: of the end in degrees, against the rows of the frame.
      thickness: across the plate in pixels, the median over its columns.
      area: in pixels.
      length: in pixels, from the first to the last column.
      row: of its middle, which gives the order in the stack.
      folded: True if its end spreads, as a corner that is folded over does.
      front: the column of the frame at which it comes out of the stack; NaN where the stack has no class.
    """

    kind: int
    reach: float | None
    tip: tuple[float, float] | None
    fall: float
    angle: float
    thickness: float
    area: int
    length: int
    row: float
    folded: bool = False
    front: float = float("nan")

    @property
    def length_outside(self) -> float:
        """How far it reaches out of the stack, in pixels; NaN where that is not known."""
        return float("nan") if self.reach is None else self.reach - self.front


@dataclasses.dataclass(frozen=True)
class Stack:
    """The plates of an image.

    Attributes:
      plates: in the order of the stack: from top to bottom, or from left to right if they stand upright.
      labels: their pixels, uint16 `[H, W]`: 0, or the place in `plates` plus 1.
      view: the view of the image in which plates run along the rows and the tips point to the last column.
    """

    plates: list[Plate]
    labels: np.ndarray
    view: View


def find_plates(
    masks: np.ndarray, probabilities: np.ndarray, channels: Sequence[int], stack: int | None = None
) -> Stack:
    """Finds the plates of an image.

    Args:
      masks: of all classes, bool `[H, W, K]`.
      probabilities: of all classes, `[H, W, K]`; `masks` themselves where there are none.
      channels: the channels of the two kinds of plates; or of one.
      stack: the channel of a class from which the plates come out; None if they come from the border of the image.
    """
    of_plates = masks[..., list(channels)]
    of_stack = None if stack is None else masks[..., stack]
    view = frame(of_plates.any(-1), of_stack)
    seen = [view.apply(probabilities[..., channel]).astype(np.float32) for channel in channels]
    pieces: list[list[Piece]] = []
    numbers: list[np.ndarray] = []
    for probability, channel in zip(seen, channels, strict=True):
        of_kind, labelled = find_pieces(view.apply(masks[..., channel]), probability, first=sum(map(len, pieces)) + 1)
        pieces.append(of_kind)
        numbers.append(labelled)
    found: list[tuple[Plate, np.ndarray]] = []
    for kind, chosen in enumerate(choose(pieces, len(seen[0]))):
        for piece in chosen:
            parts = [np.isin(labelled, piece.numbers) for labelled in numbers]
            region = np.any(parts, axis=0)
            of_piece = np.max([each for each, part in zip(seen, parts, strict=True) if part.any()], axis=0)
            plate = measure_plate(piece, region, of_piece, kind, view)
            if of_stack is not None:
                plate = dataclasses.replace(plate, front=_front(region, view.apply(of_stack)))
            found.append((plate, region))
    found.sort(key=lambda pair: pair[0].row)
    labels = np.zeros(of_plates.shape[:2], np.uint16)
    for number, (_, region) in enumerate(found, 1):
        view.apply(labels)[region] = number
    return Stack([plate for plate, _ in found], labels, view)


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
        # All plates begin at the root, and some end before the others.
        half = seen.shape[1] // 2
        mirrored = seen[:, -half:].sum() > seen[:, :half].sum() if half else False
    return dataclasses.replace(view, left_right=bool(mirrored))


def _mean_run(pixels: np.ndarray) -> float:
    """Returns the mean length of the runs of pixels along the rows."""
    starts = np.diff(pixels.astype(np.int8), axis=1, prepend=0) == 1
    return float(pixels.sum() / max(starts.sum(), 1))


def _front(region: np.ndarray, stack: np.ndarray) -> float:
    """Returns the column at which the stack ends in the rows of a plate; NaN if it has no pixel there."""
    of_rows = stack[region.any(1)]
    of_rows = of_rows[of_rows.any(1)]
    if not len(of_rows):
        return float("nan")
    return float(np.median(of_rows.shape[1] - of_rows[:, ::-1].argmax(1))) - 0.5


def measure_plate(piece: Piece, region: np.ndarray, probability: np.ndarray, kind: int, view: View) -> Plate:
    """Measures a plate.

    Args:
      piece: its columns.
      region: its pixels in the frame, bool `[H, W]`.
      probability: of its class in the frame, `[H, W]`.
      kind: the number of its class among those of plates.
      view: the frame.
    """
    columns = piece.columns
    slope, row = piece.line(columns[-LINE_OF:], float(columns[-1]))
    reach, fall, tip = None, float("nan"), None
    if _has_tip(piece, columns):
        reach, fall = _reach(region, probability, piece)
    if reach is not None:
        x, y = reach, float(row + slope * (reach - columns[-1]))
        x = region.shape[1] - 1 - x if view.left_right else x
        tip = (y, x) if view.transposed else (x, y)
    return Plate(
        kind=kind,
        reach=reach,
        tip=tip,
        fall=fall,
        angle=float(np.degrees(np.arctan(slope))),
        thickness=piece.thickness,
        area=int(piece.count.sum()),
        length=int(columns[-1] - columns[0] + 1),
        row=piece.row,
        folded=reach is not None and _is_folded(region, piece),
    )


def _is_folded(region: np.ndarray, piece: Piece) -> bool:
    """Returns True if the end of a plate extends over more rows than its thickness by `FOLDED`."""
    end = region[:, piece.columns[-FOLD_IN - 1 : -1]]
    extent = len(end) - end[::-1].argmax(0) - end.argmax(0)
    return bool(extent.size and extent.max() >= FOLDED * piece.thickness)


def _has_tip(piece: Piece, columns: np.ndarray) -> bool:
    """Returns False if the end of a piece is cut by a border of the image."""
    return bool(columns[-1] < len(piece.count) - 1 and not piece.at_border[max(columns[-1] - 4, 0) :].any())


def _reach(region: np.ndarray, probability: np.ndarray, piece: Piece) -> tuple[float | None, float]:
    """Returns the column at which the profile of a plate falls to half, None if it does not, and its `fall`."""
    near = ndimage.binary_dilation(region, np.ones((3, 5), bool))
    profile = np.where(near, probability, 0).sum(0)
    of_plate = profile[piece.columns]
    of_end = of_plate[HEIGHT_OF]
    height = float(np.median(of_end if of_end.size else of_plate))
    columns = [_last_crossing(profile, share * height) for share in (0.5, 0.75, 0.25)]
    if columns[0] is None:
        return None, float("nan")
    quarter = columns[2] if columns[2] is not None else float(len(profile) - 1)
    return columns[0], quarter - (columns[1] if columns[1] is not None else columns[0])


def _last_crossing(profile: np.ndarray, level: float) -> float | None:
    """Returns where a profile falls below a level for the last time, between two columns; None if it ends above it."""
    above = np.flatnonzero(profile >= level)
    if not above.size or above[-1] == len(profile) - 1:
        return None
    inner = int(above[-1])
    return inner + float((profile[inner] - level) / (profile[inner] - profile[inner + 1]))
