"""Which pieces of masks are plates of the stack.

A network marks more than plates: thin lines in the place of a missing plate, specks, parts of the case, and slivers at a border of
the image where the next plate of the stack would almost be seen. What is true of every stack tells them apart. It is measured in
the stack itself: *usual* is the median over the mass of the pieces of a kind, so many specks do not count.

1. Inside the image a plate shows its whole thickness. A piece there with less than `LEAST` of the usual mass or half of the
   usual length is no plate, nor is one that begins beyond the middle of the usual plate.
2. The plates of a kind end on a line. A piece that lies beyond the ends of the others, or runs to the border of the image there,
   where the others end before by more than the pitch, belongs to the case.
3. Where one plate ends, no other one of the stack goes on. Two pieces of different kinds of which one continues the other are one
   plate, of the kind that has more mass.
4. Plates lie at a pitch. A piece that is cut by the first or last row must begin where the next plate would, to a third of the
   pitch, and have at least `LEAST_SEEN` of the mass that such a plate would show, and that of a pixel.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from unet_jax.measurement.plates.pieces import Piece, gap_between, join

# The share of a usual plate that makes a piece inside the image a plate, and the share of what would be seen of a plate that a
# border of the image cuts. The latter is small, as half a pixel decides how much would be seen. Chosen on val.
LEAST, LEAST_SEEN = 0.35, 0.1


@dataclasses.dataclass(frozen=True)
class Usual:
    """The usual plate of a kind.

    Attributes:
      mass: the sum of its probabilities.
      thickness: in pixels.
      first: its first column.
      end: its last column.
    """

    mass: float
    thickness: float
    first: float
    end: float


def choose(of_kinds: Sequence[list[Piece]], height: int) -> list[list[Piece]]:
    """Returns the pieces of each kind that are plates.

    Args:
      of_kinds: the pieces of each kind, in the frame of `find`.
      height: of the image in that frame.
    """
    usual = [_usual(pieces) for pieces in of_kinds]
    inner: list[tuple[int, Piece]] = []
    cut: list[tuple[int, Piece]] = []
    for kind, pieces in enumerate(of_kinds):
        for piece in join(pieces):
            (cut if piece.at_border.any() else inner).append((kind, piece))
    inner = [pair for pair in inner if _is_whole(pair[1], usual[pair[0]])]
    inner = _one_kind(inner)
    inner.sort(key=lambda pair: pair[1].row)
    pitch = _pitch(inner)
    inner = [pair for pair in inner if not _is_case(pair[1], usual[pair[0]], pitch)]
    chosen = list(inner)
    for is_last in (False, True):
        side = [(kind, piece) for kind, piece in cut if (piece.row > height / 2) == is_last]
        chosen += _at_border(side, inner, usual, pitch, height, is_last)
    return [[piece for each, piece in chosen if each == kind] for kind in range(len(of_kinds))]


def _usual(pieces: Sequence[Piece]) -> Usual:
    """Returns the usual plate; of nothing, a plate without mass."""
    if not pieces:
        return Usual(0, 0, 0, 0)
    pieces = sorted(join(list(pieces)), key=lambda piece: piece.mass)
    total = np.cumsum([piece.mass for piece in pieces])
    middle = pieces[int(np.searchsorted(total, total[-1] / 2))]
    like = [piece for piece in pieces if piece.mass >= LEAST * middle.mass]
    thickness, first, end = np.median(
        [(piece.thickness, piece.columns[0], piece.columns[-1]) for piece in like], axis=0
    )
    return Usual(middle.mass, float(thickness), float(first), float(end))


def _is_whole(piece: Piece, usual: Usual) -> bool:
    """Returns True for a piece inside the image that is a plate by rule 1."""
    columns = piece.columns
    half = (usual.end - usual.first) / 2
    is_long = columns[-1] - columns[0] >= half and columns[0] <= usual.first + half
    return bool(is_long and piece.mass >= LEAST * usual.mass)


def _one_kind(pieces: list[tuple[int, Piece]]) -> list[tuple[int, Piece]]:
    """Returns the plates by rule 3: pieces of different kinds that are one plate are joined."""
    waiting, done = sorted(pieces, key=lambda pair: int(pair[1].columns[0])), []
    while waiting:
        kind, piece = waiting.pop(0)
        for number, (other_kind, other) in enumerate(waiting):
            if other_kind != kind and gap_between(piece, other) is not None:
                waiting.pop(number)
                kind, piece = kind if piece.mass >= other.mass else other_kind, piece.joined(other)
                break
        done.append((kind, piece))
    return done


def _pitch(plates: Sequence[tuple[int, Piece]]) -> float:
    """Returns the usual distance of neighbouring plates; infinite for fewer than two."""
    rows = [piece.row for _, piece in plates]
    return float(np.median(np.diff(rows))) if len(rows) > 1 else float("inf")


def _is_case(piece: Piece, usual: Usual, pitch: float) -> bool:
    """Returns True for what is no plate by rule 2."""
    columns, last = piece.columns, len(piece.count) - 1
    is_beyond = np.median(columns) > usual.end
    return bool(is_beyond or (columns[-1] == last and usual.end < last - pitch))


def _at_border(
    cut: Sequence[tuple[int, Piece]],
    inner: Sequence[tuple[int, Piece]],
    usual: Sequence[Usual],
    pitch: float,
    height: int,
    is_last: bool,
) -> list[tuple[int, Piece]]:
    """Returns the pieces at the first or the last row that are plates by rule 4.

    Args:
      cut: the pieces that are cut by this row.
      inner: the plates inside the image, in the order of the stack.
      usual: the usual plate of each kind.
      pitch: the distance of neighbouring plates.
      height: of the image.
      is_last: True for the last row.
    """
    if len(inner) < 2:
        return [(kind, piece) for kind, piece in cut if piece.mass >= LEAST * usual[kind].mass]
    outward = 1 if is_last else -1
    border = height - 0.5 if is_last else -0.5
    first = inner[-1 if is_last else 0]
    # By their distance from the plate inside the image.
    waiting = sorted(
        (
            (_distance(piece, first[1], outward), kind, piece)
            for kind, piece in cut
            if not _is_case(piece, usual[kind], pitch)
        ),
        key=lambda item: item[0],
    )
    neighbour, chosen = first, []
    while waiting:
        distance, kind, piece = waiting.pop(0)
        # The next plate of this kind is two pitches away: what lies nearer is of the same plate, also where the border cuts it in two.
        same = [item for item in waiting if item[1] == kind and item[0] < distance + pitch]
        waiting = [item for item in waiting if not any(item is other for other in same)]
        for _, _, other in same:
            piece = piece.joined(other)
        if _is_next(piece, kind, neighbour, usual, pitch, outward, border):
            neighbour = (kind, piece)
            chosen.append(neighbour)
    return chosen


def _distance(piece: Piece, neighbour: Piece, outward: int) -> float:
    """Returns how far from the outer edge of a neighbour a piece begins, the median over its columns."""
    columns = piece.columns
    return float(np.median(outward * (piece.edge(columns, -outward) - neighbour.edge(columns, outward))))


def _is_next(
    piece: Piece,
    kind: int,
    neighbour: tuple[int, Piece],
    usual: Sequence[Usual],
    pitch: float,
    outward: int,
    border: float,
) -> bool:
    """Returns True if a piece is the plate that follows a neighbour."""
    thickness, columns = usual[kind].thickness, np.arange(int(usual[kind].first), int(usual[kind].end) + 1)
    gap = max(pitch - (thickness + usual[neighbour[0]].thickness) / 2, 0)
    if kind == neighbour[0] and len(usual) > 1:
        # One of the other kind is missing between them: they may have come closer, and are no farther than it was thick.
        nearest, farthest, expected_at = gap + pitch / 6, gap + pitch, gap + pitch
    else:
        nearest, farthest, expected_at = gap - pitch / 3, gap + pitch / 3, gap
    distance = _distance(piece, neighbour[1], outward)
    seen = outward * (border - neighbour[1].edge(columns, outward)) - expected_at
    expected = float(np.clip(seen, 0, thickness).sum())
    return nearest <= distance <= farthest and piece.mass >= max(LEAST_SEEN * expected, 1)
