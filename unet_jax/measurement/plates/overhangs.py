"""The overhang of plates over their neighbours in the stack."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class HasTip(Protocol):
    """A plate: found, or true.

    Attributes:
      kind: the number of its class among those of plates.
      reach: how far out its tip lies, along the plates, in pixels; None if the tip is not in the image.
    """

    @property
    def kind(self) -> int:
        """See above."""
        ...

    @property
    def reach(self) -> float | None:
        """See above."""
        ...


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


def neighbours(plates: Sequence[HasTip]) -> list[tuple[int, int]]:
    """Returns the pairs of places (first kind, second kind) of plates that lie side by side in the stack."""
    pairs = []
    for place, (upper, lower) in enumerate(itertools.pairwise(plates)):
        if upper.kind != lower.kind:
            pairs.append((place, place + 1) if upper.kind == 0 else (place + 1, place))
    return pairs


def overhang(plates: Sequence[HasTip], pair: tuple[int, int]) -> float | None:
    """Returns how far the first plate of a pair reaches beyond the second, in pixels; None if a tip is not in the image."""
    first, second = (plates[place].reach for place in pair)
    return None if first is None or second is None else first - second


def overhangs(plates: Sequence[HasTip]) -> list[Overhang]:
    """Returns the overhang of each plate of kind 0 over each neighbour of kind 1, where both tips are in the image."""
    measured = [(pair, overhang(plates, pair)) for pair in neighbours(plates)]
    return [Overhang(*pair, distance) for pair, distance in measured if distance is not None]
