"""Scores of all images, and of all but one: the jackknife (Efron, Tibshirani: "An Introduction to the Bootstrap", 1993, chapter 11).

A pooled score is a ratio of sums, so it has no value for a single image whose spread would give the interval. The pseudo-value of
image u takes that place: U * score - (U - 1) * score without u. For a mean over images it is the value of image u.

Two images, one class; the first image is predicted better:

>>> count = {"tp": np.array([[90], [60]]), "fp": np.array([[5], [20]]), "fn": np.array([[5], [20]])}
>>> pooled = leave_one_out([count], "iou")["pooled"]
>>> pooled.score, pooled.without.tolist()
(array([0.75]), [[0.6], [0.9]])
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from unet_jax.evaluation import metrics

COUNTS = ("tp", "fp", "fn")
KINDS = ("pooled", "image")


class LeftOut(NamedTuple):
    """Scores of S runs on the same U units; a unit is an image, or a group of images.

    Attributes:
      score: the score of each run, `[S]`.
      without: its score without each unit, `[U, S]`.
      share: the weight of each unit in the score, `[U]`: of a pooled score its part of the pixels, of a mean over images its part
        of the images; the mean over classes and runs. 0 for a unit that shows no class.
    """

    score: np.ndarray
    without: np.ndarray
    share: np.ndarray

    def mean(self) -> float:
        """Returns the mean over the runs."""
        return float(metrics.nanmean(self.score))

    def of_runs(self, chosen: np.ndarray) -> "LeftOut":
        """Returns the scores of the chosen runs; `chosen` is bool `[S]`."""
        return LeftOut(self.score[chosen], self.without[:, chosen], self.share)

    def known_runs(self) -> "LeftOut":
        """Returns the scores of the runs that have one; a run has none where neither truth nor prediction show a class."""
        return self.of_runs(~np.isnan(self.score))

    def pseudo_values(self, chosen: np.ndarray) -> np.ndarray:
        """Returns the pseudo-values `[U', S]` of the chosen units; `chosen` is bool `[U]`."""
        num = int(chosen.sum())
        return num * self.score - (num - 1) * self.without[chosen]


def counts(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns `tp`, `fp`, `fn`, int64 `[N, K]`, of N rows of `evaluate` and K classes."""
    return {
        name: np.array([[row[f"{name}/{class_name}"] for class_name in class_names] for row in rows], np.int64)
        for name in COUNTS
    }


def leave_one_out(
    counted: Sequence[Mapping[str, np.ndarray]], metric: str, groups: ArrayLike | None = None
) -> dict[str, LeftOut]:
    """Scores each run on all units, and on all units but one; the scores are means over the classes, as in `metrics`.

    Args:
      counted: for each of S runs `tp`, `fp`, `fn` `[N, K]` of the same images and the reported classes.
      metric: "iou" or "dice".
      groups: the group of each image, `[N]`, such as its field of view; None if every image is a unit.

    Returns:
      `pooled` and `image`. As in `metrics`, a class that is absent from all images that are left is left out of its mean.
    """
    images = np.arange(len(counted[0]["tp"])) if groups is None else np.asarray(groups)
    unit = np.unique(images, return_inverse=True)[1]
    scores: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    shares: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for count in counted:
        sums = {name: _sums(np.asarray(count[name], np.int64), unit) for name in COUNTS}
        union = sums["tp"] + sums["fp"] + sums["fn"]
        scores["pooled"].append(metrics.nanmean(metrics.ratios({k: _without(v) for k, v in sums.items()})[metric], 1))
        shares["pooled"].append(_share(union))
        values = metrics.ratios(count)[metric]
        known = ~np.isnan(values)
        total, num = _without(_sums(np.where(known, values, 0.0), unit)), _sums(known.astype(np.int64), unit)
        left = _without(num)
        scores["image"].append(metrics.nanmean(total / np.where(left > 0, left, np.nan), 1))
        shares["image"].append(_share(num))
    found = {kind: np.stack(scores[kind], 1) for kind in KINDS}
    return {kind: LeftOut(found[kind][0], found[kind][1:], np.mean(shares[kind], 0)) for kind in KINDS}


def of_images(values: ArrayLike, groups: ArrayLike | None = None) -> LeftOut:
    """Scores each run by the mean of the scores of images, of all and of all but those of one unit.

    >>> of_images([[0.5, 0.7, 0.9, np.nan]], groups=["a", "a", "b", "b"]).without.round(2).tolist()
    [[0.9], [0.6]]

    Args:
      values: the scores of S runs on the same N images, `[S, N]`; NaN is left out.
      groups: as in `leave_one_out`.
    """
    values = np.asarray(values, np.float64).T
    unit = np.unique(np.arange(len(values)) if groups is None else np.asarray(groups), return_inverse=True)[1]
    known = ~np.isnan(values)
    sizes = _sums(known.astype(np.int64), unit)
    total, left = _without(_sums(np.where(known, values, 0.0), unit)), _without(sizes)
    means = total / np.where(left > 0, left, np.nan)
    return LeftOut(means[0], means[1:], _share(sizes))


def _sums(values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Adds the images of each unit, `[N, K]` -> `[U, K]`."""
    sums = np.zeros((unit.max() + 1, values.shape[1]), values.dtype)
    np.add.at(sums, unit, values)
    return sums


def _without(sums: np.ndarray) -> np.ndarray:
    """Adds all units, and all units but one: `[U, K]` -> `[1 + U, K]`."""
    total = sums.sum(0)
    return np.concatenate([total[None], total - sums])


def _share(sizes: np.ndarray) -> np.ndarray:
    """Returns the part of each unit in the sum of all, the mean over the classes that are present: `[U, K]` -> `[U]`."""
    total = sizes.sum(0)
    return (sizes[:, total > 0] / total[total > 0]).sum(1) / max(int((total > 0).sum()), 1)
