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
  share of the true overhangs that are matched.

Distances are in pixels. A plate whose tip is not in the image counts as a plate; its tip and its overhangs are left out.
`num_tips_outside` says how many.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment


class Tip(NamedTuple):
    """A plate as the scores see it.

    Attributes:
      kind: 0 for the first kind of plates, 1 for the second.
      reach: position of the tip along the plates, in pixels, larger farther out; None if it is not in the image.
      tip: (x, y) in pixels; None likewise.
    """

    kind: int
    reach: float | None
    tip: tuple[float, float] | None


class ImageScores(NamedTuple):
    """What one image adds to the scores.

    Attributes:
      num_found: plates of each kind.
      num_true: plates of each kind.
      placed: distances of tips of the same place, by kind; None where the numbers differ.
      unsigned: errors of |dx|; None where a number differs.
      matched: distances of matched tips.
      overhangs: (found, true) of overhangs whose two plates are matched.
      num_tips: true tips in the image.
      num_overhangs: true overhangs in the image.
    """

    num_found: tuple[int, int]
    num_true: tuple[int, int]
    placed: tuple[list[float] | None, list[float] | None]
    unsigned: list[float] | None
    matched: list[float]
    overhangs: list[tuple[float, float]]
    num_tips: int
    num_overhangs: int


def neighbours(plates: Sequence[Tip]) -> list[tuple[int, int]]:
    """Returns the pairs of places (first kind, second kind) of plates that lie side by side."""
    pairs = []
    for place, (upper, lower) in enumerate(zip(plates, plates[1:], strict=False)):
        if upper.kind != lower.kind:
            pairs.append((place, place + 1) if upper.kind == 0 else (place + 1, place))
    return pairs


def overhang(plates: Sequence[Tip], pair: tuple[int, int]) -> float | None:
    """Returns how far the first plate of a pair reaches beyond the second, in pixels; None if a tip is not in the image."""
    first, second = (plates[place].reach for place in pair)
    return None if first is None or second is None else first - second


def score_image(found: Sequence[Tip], true: Sequence[Tip]) -> ImageScores:
    """Compares the plates of one image; both lists are in the order of the stack."""
    counts = [tuple(sum(plate.kind == kind for plate in plates) for kind in (0, 1)) for plates in (found, true)]
    exact = [counts[0][kind] == counts[1][kind] for kind in (0, 1)]
    matches = _match(found, true)
    pairs = [pair for pair in neighbours(true) if overhang(true, pair) is not None]
    signed = []
    for pair in pairs:
        if pair[0] in matches and pair[1] in matches:
            of_found = overhang(found, (matches[pair[0]], matches[pair[1]]))
            signed.append((float(of_found), float(overhang(true, pair))))
    return ImageScores(
        num_found=counts[0],
        num_true=counts[1],
        placed=tuple(_placed(found, true, kind) if exact[kind] else None for kind in (0, 1)),
        unsigned=_unsigned(found, true) if all(exact) else None,
        matched=[_distance(found[place], true[of]) for of, place in matches.items()],
        overhangs=signed,
        num_tips=sum(plate.tip is not None for plate in true),
        num_overhangs=len(pairs),
    )


def _distance(first: Tip, second: Tip) -> float:
    return float(np.hypot(*np.subtract(first.tip, second.tip)))


def _match(found: Sequence[Tip], true: Sequence[Tip]) -> dict[int, int]:
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


def _placed(found: Sequence[Tip], true: Sequence[Tip], kind: int) -> list[float]:
    pairs = zip(*([plate for plate in plates if plate.kind == kind] for plates in (found, true)), strict=True)
    return [_distance(first, second) for first, second in pairs if first.tip is not None and second.tip is not None]


def _unsigned(found: Sequence[Tip], true: Sequence[Tip]) -> list[float]:
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


def summarize(images: Sequence[ImageScores]) -> dict[str, float]:
    """Returns the scores of several images by name; see the module. A score without any value is NaN."""
    found, true = (np.array([getattr(image, name) for image in images]).reshape(-1, 2) for name in ("num_found", "num_true"))
    error, exact = np.abs(found - true), found == true
    matched = np.concatenate([image.matched for image in images] or [[]])
    signed = np.array([pair for image in images for pair in image.overhangs]).reshape(-1, 2)
    scores = {}
    for kind, letter in enumerate("AC"):
        scores[f"{letter}N-MAE"] = _mean(error[:, kind])
        scores[f"{letter}N-ACC"] = _mean(exact[:, kind])
        scores[f"{letter}L-MAE"] = _mean([d for image in images for d in image.placed[kind] or ()])
    scores["PN-ACC"] = _mean(exact.all(1))
    scores["OH-MAE"] = _mean([d for image in images for d in image.unsigned or ()])
    num_tips, num_overhangs = (sum(getattr(image, name) for image in images) for name in ("num_tips", "num_overhangs"))
    scores |= {
        "tip/mean": _mean(matched),
        "tip/median": float(np.median(matched)) if matched.size else float("nan"),
        "tip/coverage": len(matched) / num_tips if num_tips else float("nan"),
        "overhang/mean": _mean(np.abs(signed[:, 0] - signed[:, 1])),
        "overhang/sign": _mean(np.sign(signed[:, 0]) == np.sign(signed[:, 1])),
        "overhang/coverage": len(signed) / num_overhangs if num_overhangs else float("nan"),
        "num_tips_outside": int(true.sum() - num_tips),
    }
    return scores


def _mean(values: Sequence[float] | np.ndarray) -> float:
    values = np.asarray(values, np.float64)
    return float(values.mean()) if values.size else float("nan")
