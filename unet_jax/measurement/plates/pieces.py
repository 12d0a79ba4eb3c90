"""The pieces of plates in a mask, and which of them are one plate, in the frame of `find`.

A piece is a connected part of the mask of one kind of plates, diagonals included. It is described by its columns: how
many of its pixels lie in each, and where their middle is.
"""

import dataclasses

import numpy as np
from scipy import ndimage

# Columns at the end of a piece that say whether another one continues it, and the steepest slope that is believed there.
JOINED_BY = 14
STEEPEST = 0.25
EVERYWHERE = np.ones((3, 3), bool)


@dataclasses.dataclass(frozen=True)
class Piece:
    """Pixels of a plate, in an image of W columns.

    Attributes:
      numbers: of its connected parts in the label image.
      count: the pixels of each column, `[W]`.
      rows: the sum of their rows, `[W]`.
      mass: the sum of their probabilities.
      at_border: True in the columns in which it touches the first or the last row, `[W]`.
    """

    numbers: tuple[int, ...]
    count: np.ndarray
    rows: np.ndarray
    mass: float
    at_border: np.ndarray

    @property
    def columns(self) -> np.ndarray:
        """The columns in which it has pixels."""
        return np.flatnonzero(self.count)

    @property
    def thickness(self) -> float:
        """Pixels across the plate, the median over its columns."""
        return float(np.median(self.count[self.columns]))

    @property
    def row(self) -> float:
        """The middle row, the median over its columns."""
        return float(np.median(self.rows[self.columns] / self.count[self.columns]))

    def line(self, columns: np.ndarray, end: float) -> tuple[float, float]:
        """Returns the slope of the line through the middle of some of its columns, and its row at the column `end`."""
        middle = self.rows[columns] / self.count[columns]
        if len(columns) < 4:
            return 0.0, float(middle.mean())
        slope, row = np.polyfit(columns - end, middle, 1)
        return float(slope), float(row)

    def edge(self, columns: np.ndarray, side: int) -> np.ndarray:
        """Returns the row at which it ends, on the lines through its ends where it has no pixel.

        Args:
          columns: at which it is asked for.
          side: -1 for the edge towards the first row, 1 for the other.
        """
        present = self.columns
        middle = np.interp(columns, present, self.rows[present] / self.count[present])
        for end, part in ((present[0], present[:JOINED_BY]), (present[-1], present[-JOINED_BY:])):
            slope, row = self.line(part, float(end))
            beyond = columns < end if end == present[0] else columns > end
            middle = np.where(beyond, row + np.clip(slope, -STEEPEST, STEEPEST) * (columns - end), middle)
        thickness = np.where(self.count[columns] > 0, self.count[columns], self.thickness)
        return middle + side * thickness / 2

    def joined(self, other: "Piece") -> "Piece":
        """Returns the two as one piece."""
        return Piece(
            (*self.numbers, *other.numbers),
            self.count + other.count,
            self.rows + other.rows,
            self.mass + other.mass,
            self.at_border | other.at_border,
        )


def find_pieces(mask: np.ndarray, probability: np.ndarray, first: int = 1) -> tuple[list[Piece], np.ndarray]:
    """Returns the pieces of a mask, and the image of their numbers.

    Args:
      mask: of one kind of plates, bool `[H, W]`.
      probability: of that class, `[H, W]`.
      first: the number of the first piece.
    """
    labels, number = ndimage.label(mask, EVERYWHERE)
    width = mask.shape[1]
    place = (labels * width + np.arange(width)).ravel()
    size = (number + 1) * width
    count = np.bincount(place, minlength=size).reshape(number + 1, width)
    rows = np.bincount(place, np.repeat(np.arange(len(mask)), width), size).reshape(number + 1, width)
    mass = np.bincount(labels.ravel(), probability.ravel(), number + 1)
    at_border = np.zeros((number + 1, width), bool)
    at_border[labels[[0, -1]], np.arange(width)] = True
    pieces = [Piece((first + n - 1,), count[n], rows[n], float(mass[n]), at_border[n]) for n in range(1, number + 1)]
    return pieces, np.where(labels > 0, labels + (first - 1), 0)


def join(pieces: list[Piece], most: float | None = None) -> list[Piece]:
    """Joins the pieces of which one continues the other, the nearest first.

    Args:
      pieces: of one kind.
      most: the longest gap that is bridged, in columns; None for the length of the outer piece: specks beyond a tip
        do not continue the plate, a plate continues specks near its root.
    """
    waiting, done = sorted(pieces, key=lambda piece: int(piece.columns[0])), []
    while waiting:
        piece = waiting.pop(0)
        while True:
            gaps = {
                number: gap
                for number, other in enumerate(waiting)
                if (gap := gap_between(piece, other, most)) is not None
            }
            if not gaps:
                break
            piece = piece.joined(waiting.pop(min(gaps, key=gaps.__getitem__)))
        done.append(piece)
    return done


def gap_between(piece: Piece, other: Piece, most: float | None = None) -> int | None:
    """Returns the columns between two pieces; None if the second does not continue the first.

    Args:
      piece: the one that begins first.
      other: the other one.
      most: see `join`.
    """
    columns, others = piece.columns, other.columns
    gap = int(others[0] - columns[-1])
    if gap < -3 or gap > (len(others) if most is None else most):
        return None
    middle = (others[0] + columns[-1]) / 2
    rows = [_row_at(piece, columns[-JOINED_BY:], middle), _row_at(other, others[:JOINED_BY], middle)]
    thickness = max(piece.thickness, other.thickness)
    return gap if abs(rows[0] - rows[1]) <= 0.75 * thickness + 0.05 * abs(gap) else None


def _row_at(piece: Piece, columns: np.ndarray, column: float) -> float:
    """Returns the row at a column beyond the end of a piece, on the line through its middle."""
    end = columns[-1] if column >= columns[-1] else columns[0]
    slope, row = piece.line(columns, float(end))
    return row + float(np.clip(slope, -STEEPEST, STEEPEST)) * (column - float(end))
