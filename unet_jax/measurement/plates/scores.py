"""Scores of found plates against true ones: the eight metrics of the field, and what they leave out.

The metrics are those of X-ray-PBD (Zhao et al., "Towards automatic power battery detection", CVPR 2024), for `A` the first kind of
plates and `C` the second:

- `AN-MAE`, `CN-MAE`: mean absolute error of the number of plates;
- `AN-ACC`, `CN-ACC`, `PN-ACC`: share of the images with the exact number, of one kind or of both;
- `AL-MAE`, `CL-MAE`: mean distance of tips, each found one with the true one of the same place, in images with the exact number;
- `OH-MAE`: mean of | |dx| found - |dx| true | over each plate of the second kind and its neighbours of the first kind, in
  images where both numbers are exact.

Location and overhang count only where the numbers are exact, so who counts worse may seem sharper; and |dx| loses the sign.
Therefore every image is scored, too, with tips matched by assignment, the smallest sum of distances over all pairs:

- `tip/mean`, `tip/median`: distance of matched tips; `tip/coverage`: the share of the true tips that are matched;
- `overhang/mean`: mean |difference| of the signed overhang; `overhang/sign`: the share with the right sign; `overhang/coverage`: the
  share of the true overhangs that are matched;
- `interval/coverage`: the share of the intervals of overhangs that hold the truth; `interval/width`: their mean width.

Distances are in pixels. A plate whose tip is not in the image counts as a plate; its tip and its overhangs are left out.
`num_tips_outside` says how many.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from unet_jax.measurement.plates.intervals import scale
from unet_jax.measurement.plates.overhangs import HasTip, neighbours, overhang, overhangs


class Tip(NamedTuple):
    """A plate as the scores see it.

    Attributes:
      kind: 0 for the first kind of plates, 1 for the second.
      reach: position of the tip along the plates, in pixels, larger farther out; None if it is not in the image.
      tip: (x, y) in pixels; None likewise.
      fall: see `find.Plate`; NaN for a true plate.
    """

    kind: int
    reach: float | None
    tip: tuple[float, float] | None
    fall: float = math.nan


class Scored(HasTip, Protocol):
    """A plate that is scored: a `Tip` or a `find.Plate`."""

    @property
    def tip(self) -> tuple[float, float] | None:
        """See `Tip`."""
        ...

    @property
    def fall(self) -> float:
        """See `Tip`."""
        ...


class Signed(NamedTuple):
    """An overhang that was found, and the true one.

    Attributes:
      found: in pixels.
      true: in pixels.
      scale: of its interval; see `intervals.scale`.
    """

    found: float
    true: float
    scale: float


class ImageScores(NamedTuple):
    """What one image adds to the scores.

    Attributes:
      num_found: plates of each kind.
      num_true: plates of each kind.
      placed: distances of tips of the same place, by kind; None where the numbers differ.
      unsigned: errors of |dx|; None where a number differs.
      matched: distances of matched tips.
      overhangs: those whose two plates are matched.
      num_tips: true tips in the image.
      num_overhangs: true overhangs in the image.
    """

    num_found: tuple[int, int]
    num_true: tuple[int, int]
    placed: tuple[list[float] | None, list[float] | None]
    unsigned: list[float] | None
    matched: list[float]
    overhangs: list[Signed]
    num_tips: int
    num_overhangs: int


def score_image(found: Sequence[Scored], true: Sequence[Scored]) -> ImageScores:
    """Compares the plates of one image; both lists are in the order of the stack."""
    num_found, num_true = _count(found), _count(true)
    exact = [num_found[kind] == num_true[kind] for kind in (0, 1)]
    matches = _match(found, true)
    pairs = overhangs(true)
    signed = []
    for pair in pairs:
        if pair.anode in matches and pair.cathode in matches:
            first, second = found[matches[pair.anode]], found[matches[pair.cathode]]
            of_found = overhang((first, second), (0, 1))
            if of_found is not None:
                signed.append(Signed(of_found, pair.distance, scale(first.fall, second.fall)))
    return ImageScores(
        num_found=num_found,
        num_true=num_true,
        placed=(_placed(found, true, 0) if exact[0] else None, _placed(found, true, 1) if exact[1] else None),
        unsigned=_unsigned(found, true) if all(exact) else None,
        matched=[_distance(found[place], true[of]) for of, place in matches.items()],
        overhangs=signed,
        num_tips=sum(plate.tip is not None for plate in true),
        num_overhangs=len(pairs),
    )


def _count(plates: Sequence[Scored]) -> tuple[int, int]:
    """Returns the number of plates of each kind."""
    first = sum(plate.kind == 0 for plate in plates)
    return first, len(plates) - first


def _distance(first: Scored, second: Scored) -> float:
    """Returns the distance of two tips that are in the image."""
    assert first.tip is not None
    assert second.tip is not None
    return math.dist(first.tip, second.tip)


def _match(found: Sequence[Scored], true: Sequence[Scored]) -> dict[int, int]:
    """Returns the place of the found tip for each true one that has a partner, kind by kind."""
    matches: dict[int, int] = {}
    for kind in (0, 1):
        places = [
            [place for place, plate in enumerate(plates) if plate.kind == kind and plate.tip is not None]
            for plates in (true, found)
        ]
        if all(places):
            distances = [[_distance(true[of], found[place]) for place in places[1]] for of in places[0]]
            for row, column in zip(*linear_sum_assignment(distances), strict=True):
                matches[places[0][row]] = places[1][column]
    return matches


def _placed(found: Sequence[Scored], true: Sequence[Scored], kind: int) -> list[float]:
    pairs = zip(*([plate for plate in plates if plate.kind == kind] for plates in (found, true)), strict=True)
    return [_distance(first, second) for first, second in pairs if first.tip is not None and second.tip is not None]


def _unsigned(found: Sequence[Scored], true: Sequence[Scored]) -> list[float]:
    """Returns | |dx| found - |dx| true | of the pairs of neighbours, by their places in each kind."""
    distances = []
    for plates in (found, true):
        of_kind = [0, 0]
        ranks = []
        for plate in plates:
            ranks.append(of_kind[plate.kind])
            of_kind[plate.kind] += 1
        pairs = {(ranks[a], ranks[c]): overhang(plates, (a, c)) for a, c in neighbours(plates)}
        distances.append({ranks: abs(value) for ranks, value in pairs.items() if value is not None})
    return [abs(distances[0][ranks] - distances[1][ranks]) for ranks in distances[0].keys() & distances[1].keys()]


def summarize(images: Sequence[ImageScores], num_kinds: int = 2, factor: float = math.nan) -> dict[str, float]:
    """Returns the scores of several images by name; see the module. A score without any value is NaN.

    Args:
      images: the images.
      num_kinds: the kinds of plates; with one, there are no scores of the second kind and of overhangs.
      factor: of the intervals of overhangs, see `intervals`; NaN for none.
    """
    found, true = (
        np.array([getattr(image, name) for image in images]).reshape(-1, 2) for name in ("num_found", "num_true")
    )
    error, exact = np.abs(found - true), found == true
    matched = np.concatenate([image.matched for image in images] or [[]])
    num_tips = sum(image.num_tips for image in images)
    scores: dict[str, float] = {}
    for kind, letter in list(enumerate("AC"))[:num_kinds]:
        scores[f"{letter}N-MAE"] = _mean(error[:, kind])
        scores[f"{letter}N-ACC"] = _mean(exact[:, kind])
        scores[f"{letter}L-MAE"] = _mean([d for image in images for d in image.placed[kind] or ()])
    scores |= {
        "tip/mean": _mean(matched),
        "tip/median": float(np.median(matched)) if matched.size else math.nan,
        "tip/coverage": len(matched) / num_tips if num_tips else math.nan,
        "num_tips_outside": int(true.sum() - num_tips),
    }
    if num_kinds == 1:
        return scores
    signed = np.array([pair for image in images for pair in image.overhangs]).reshape(-1, len(Signed._fields))
    errors = np.abs(signed[:, 0] - signed[:, 1])
    num_overhangs = sum(image.num_overhangs for image in images)
    scores["PN-ACC"] = _mean(exact.all(1))
    scores["OH-MAE"] = _mean([d for image in images for d in image.unsigned or ()])
    scores |= {
        "overhang/mean": _mean(errors),
        "overhang/sign": _mean(np.sign(signed[:, 0]) == np.sign(signed[:, 1])),
        "overhang/coverage": len(signed) / num_overhangs if num_overhangs else math.nan,
    }
    if not math.isnan(factor):
        half = factor * signed[:, 2]
        scores |= {"interval/coverage": _mean(errors <= half), "interval/width": 2 * _mean(half)}
    return scores


def _mean(values: Sequence[float] | np.ndarray) -> float:
    values = np.asarray(values, np.float64)
    return float(values.mean()) if values.size else math.nan
