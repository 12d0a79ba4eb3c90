"""Scores of objects: which true object was found, by which predicted one, and how well the two agree.

Two label images are compared: a pixel holds the number of its object, 0 is background. The intersection over union (IoU) of
a true and a predicted object decides whether they match. At a threshold t a pair with IoU >= t is a true positive (TP), a
predicted object without a partner a false positive (FP), a true one without a partner a false negative (FN):

    precision = TP / (TP + FP)        recall = TP / (TP + FN)        F1 = 2 TP / (2 TP + FP + FN)
    AP = TP / (TP + FP + FN)          SQ = mean IoU of the pairs     PQ = SQ * F1

- AP is what the Data Science Bowl 2018, StarDist (Schmidt 2018) and Cellpose (Stringer 2021) call average precision. It is not
  the area under a curve, because masks have no confidence. `ap` is its mean over the `THRESHOLDS`.
- PQ is the panoptic quality (Kirillov, CVPR 2019), where F1 is called RQ.
- SEG (Cell Tracking Challenge: Maška 2014) is the mean over the true objects of the IoU with the predicted object that
  covers more than half of it, 0 where there is none. False positives do not lower it.
- AJI is the aggregated Jaccard index (Kumar 2017). Each true object takes the predicted one of the highest IoU (the smallest
  number where several are equal); their intersections are added, and so are their unions. A true object without any shared
  pixel, and a predicted object that none has taken, add their areas to the unions.

Ties: an IoU exactly at the threshold is a match, as in `stardist.matching`; the paper on PQ asks for more than 0.5. Only at
t = 0.5 can an object have two partners. These are then the two halves of it, with an IoU of 0.5 each; the smaller number
is taken. So no assignment has to be searched, and thresholds below 0.5 are refused.

Empty images: where neither image has an object, every score is NaN and is left out of means over images. Where only one of
them has objects, precision, recall, F1, AP, SQ, PQ and AJI are 0: an image in which nothing was found counts as 0. SEG is NaN
where no true object exists.

Void pixels belong to no object, so they are in no intersection and no union. A predicted object of which more than half is
void, and that matches nothing, is left out: it is no false positive (Kirillov 2019).

Counts are sums of an image, as in `metrics`: adding merges them (pooled), stacking keeps the images apart. A true object that
is found, and one that is predicted in two halves, of which one takes part:

>>> true = np.array([[1, 1, 0, 2, 2, 2, 2]])
>>> predicted = np.array([[7, 7, 0, 4, 4, 5, 5]])
>>> matches(overlaps(true, predicted), 0.5)
(array([1, 2]), array([7, 4]), array([1. , 0.5]))
>>> scored = scores(counts(true, predicted))
>>> scored["ap"].round(2)
array([0.67, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25])
>>> float(scored["pq"][0].round(2)), float(scored["seg"]), float(scored["aji"])
(0.6, 0.5, 0.5)
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from unet_jax.errors import UserError
from unet_jax.evaluation.metrics import nanmean

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
# For each threshold.
MATCHED = ("tp", "fp", "fn", "iou")
COUNTS = (*MATCHED, "seg", "num_true", "aji_intersection", "aji_union")


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """The objects of two label images, and the pairs that share a pixel. Void pixels are not counted.

    Attributes:
      true_ids: the numbers of the T true objects, ascending.
      predicted_ids: the numbers of the P predicted objects, ascending.
      true_areas: their pixels, int64 `[T]`.
      predicted_areas: their pixels, int64 `[P]`.
      true: of each pair, the index in `true_ids`, int64 `[M]`; pairs are sorted by it, then by `predicted`.
      predicted: of each pair, the index in `predicted_ids`, int64 `[M]`.
      shared: the pixels that both objects of a pair have, int64 `[M]`.
      mostly_void: True for a predicted object of which more than half is void, bool `[P]`.
    """

    true_ids: np.ndarray
    predicted_ids: np.ndarray
    true_areas: np.ndarray
    predicted_areas: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    shared: np.ndarray
    mostly_void: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """The pixels that either object of a pair has, int64 `[M]`."""
        return self.true_areas[self.true] + self.predicted_areas[self.predicted] - self.shared

    @property
    def iou(self) -> np.ndarray:
        """The intersection over union of each pair, float64 `[M]`."""
        return self.shared / self.union


def overlaps(true: np.ndarray, predicted: np.ndarray, valid: np.ndarray | None = None) -> Overlaps:
    """Counts the pixels that the objects of two label images share.

    Args:
      true: numbers of the true objects, whole numbers `[H, W]` (or of any shape); 0 is background.
      predicted: numbers of the predicted objects, of the same shape.
      valid: False for void pixels, bool, of the same shape; None if there are none.

    Raises:
      UserError: an image holds other values than whole numbers from 0 on, or the shapes differ.
    """
    for name, labels in (("true", true), ("predicted", predicted)):
        if not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
            raise UserError(f"the {name} objects are {labels.dtype} numbers; give whole numbers, 0 for background")
    shapes = [image.shape for image in (true, predicted, valid) if image is not None]
    if len(set(shapes)) > 1:
        raise UserError(
            f"the images of objects have the shapes {', '.join(map(str, shapes))}; give images of one shape"
        )
    inside = (true > 0) | (predicted > 0)
    if valid is not None:
        inside &= valid
    true_ids, true_index = np.unique(true[inside], return_inverse=True)
    predicted_ids, predicted_index = np.unique(predicted[inside], return_inverse=True)
    codes, shared = np.unique(true_index * max(len(predicted_ids), 1) + predicted_index, return_counts=True)
    of_true, of_predicted = np.divmod(codes, max(len(predicted_ids), 1))
    true_areas = np.bincount(of_true, shared, len(true_ids)).astype(np.int64)
    predicted_areas = np.bincount(of_predicted, shared, len(predicted_ids)).astype(np.int64)
    # The background, where it is there, is the first number of either image.
    first_true, first_predicted = (int((ids[:1] == 0).sum()) for ids in (true_ids, predicted_ids))
    pair = (of_true >= first_true) & (of_predicted >= first_predicted)
    predicted_ids, predicted_areas = predicted_ids[first_predicted:], predicted_areas[first_predicted:]
    void_areas = np.zeros(len(predicted_ids), np.int64)
    if valid is not None:
        ids, areas = np.unique(predicted[~valid], return_counts=True)
        kept = np.isin(ids, predicted_ids)
        void_areas[np.searchsorted(predicted_ids, ids[kept])] = areas[kept]
    return Overlaps(
        true_ids=true_ids[first_true:],
        predicted_ids=predicted_ids,
        true_areas=true_areas[first_true:],
        predicted_areas=predicted_areas,
        true=of_true[pair] - first_true,
        predicted=of_predicted[pair] - first_predicted,
        shared=shared[pair],
        mostly_void=void_areas > predicted_areas,
    )


def matches(found: Overlaps, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pairs that match: the numbers of the true and of the predicted object, and their IoU, each `[TP]`.

    Args:
      found: the result of `overlaps`.
      threshold: the lowest IoU of a match, from 0.5 to 1.

    Raises:
      UserError: the threshold is outside that range.
    """
    rows = _match(found, threshold)
    return found.true_ids[found.true[rows]], found.predicted_ids[found.predicted[rows]], found.iou[rows]


def _match(found: Overlaps, threshold: float) -> np.ndarray:
    """Returns the indices of the pairs that match."""
    if not 0.5 <= threshold <= 1:
        raise UserError(
            f"the threshold of IoU is {threshold}; give one from 0.5 to 1, because below 0.5 an object may match several"
        )
    rows = np.flatnonzero(found.iou >= threshold)
    # Of two halves the first is kept.
    rows = rows[np.unique(found.true[rows], return_index=True)[1]]
    return rows[np.sort(np.unique(found.predicted[rows], return_index=True)[1])]


def counts(true: np.ndarray, predicted: np.ndarray, valid: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Counts the objects of one image, for `scores`.

    Args:
      true: see `overlaps`.
      predicted: see `overlaps`.
      valid: see `overlaps`.

    Returns:
      For each of the `THRESHOLDS` `tp`, `fp`, `fn`, int64, and `iou`, the sum of the IoU of the pairs, float64. Also `seg`, the
      sum of SEG over the true objects, float64; `num_true`, `aji_intersection` and `aji_union`, int64.

    Raises:
      UserError: as `overlaps`.
    """
    found = overlaps(true, predicted, valid)
    table: dict[str, list] = {name: [] for name in MATCHED}
    for threshold in THRESHOLDS:
        rows = _match(found, threshold)
        left_out = found.mostly_void.copy()
        left_out[found.predicted[rows]] = False
        table["tp"].append(len(rows))
        table["fp"].append(len(found.predicted_ids) - len(rows) - left_out.sum())
        table["fn"].append(len(found.true_ids) - len(rows))
        table["iou"].append(found.iou[rows].sum())
    covers_half = 2 * found.shared > found.true_areas[found.true]
    intersection, union = _aggregated_jaccard(found)
    values = {"seg": found.iou[covers_half].sum(), "num_true": len(found.true_ids)}
    values |= {"aji_intersection": intersection, "aji_union": union}
    return {
        name: np.asarray(value, np.float64 if name in ("iou", "seg") else np.int64)
        for name, value in (table | values).items()
    }


def _aggregated_jaccard(found: Overlaps) -> tuple[int, int]:
    """Returns the sums of the intersections and of the unions of AJI."""
    by_iou = np.lexsort((found.predicted, -found.iou, found.true))
    best = by_iou[np.unique(found.true[by_iou], return_index=True)[1]]
    missed, invented = np.ones(len(found.true_ids), bool), ~found.mostly_void
    missed[found.true[best]], invented[found.predicted[best]] = False, False
    union = found.union[best].sum() + found.true_areas[missed].sum() + found.predicted_areas[invented].sum()
    return int(found.shared[best].sum()), int(union)


def scores(count: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Computes the scores of counts: those of one image, of a sum of images, or `[N, ...]` of N images.

    >>> nothing_found = scores(counts(np.array([[1, 1, 0]]), np.array([[0, 0, 0]])))
    >>> float(nothing_found["pq"][0]), float(nothing_found["seg"]), float(nothing_found["aji"])
    (0.0, 0.0, 0.0)

    Args:
      count: the result of `counts`, added up or stacked.

    Returns:
      `precision`, `recall`, `f1`, `ap`, `sq` and `pq`, float64 with the `THRESHOLDS` in the last axis, and `seg` and `aji`,
      without that axis. NaN where nothing can be scored.
    """
    tp, fp, fn, iou = (np.asarray(count[name], np.float64) for name in MATCHED)
    objects = tp + fp + fn
    f1 = _ratio(2 * tp, 2 * tp + fp + fn, objects)
    sq = _ratio(iou, tp, objects)
    num_true, union = np.asarray(count["num_true"]), np.asarray(count["aji_union"])
    return {
        "precision": _ratio(tp, tp + fp, objects),
        "recall": _ratio(tp, tp + fn, objects),
        "f1": f1,
        "ap": _ratio(tp, objects, objects),
        "sq": sq,
        "pq": sq * f1,
        "seg": _ratio(np.asarray(count["seg"]), num_true, num_true),
        "aji": _ratio(np.asarray(count["aji_intersection"]), union, union),
    }


def _ratio(part: np.ndarray, whole: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Returns part / whole; 0 where `whole` is 0, and NaN where `number`, the objects that are scored, is 0."""
    return np.where(number > 0, part / np.where(whole > 0, whole, 1), np.nan)


def summarize(count: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Computes the scores of N images, by name.

    Args:
      count: the results of `counts` of N images, stacked: `[N, 10]` and `[N]`.

    Returns:
      `<score>_pooled`, of the objects of all images in one sum, and `<score>_image`, the mean of the scores of each image, where
      they are not NaN. The scores are `ap`, the mean of AP over the thresholds, `ap50`, `ap55`, ... `ap95`, and `precision`,
      `recall`, `f1`, `sq`, `pq`, all at 0.5, and `seg` and `aji`.
    """
    pooled = by_name(scores({name: np.asarray(count[name]).sum(0) for name in COUNTS}))
    image = by_name(scores(count))
    return {f"{name}_pooled": float(value) for name, value in pooled.items()} | {
        f"{name}_image": float(nanmean(values)) for name, values in image.items()
    }


def by_name(scored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the results of `scores` under the names of `summarize`, without the axis of the thresholds."""
    # All are NaN, or none.
    named = {"ap": scored["ap"].mean(-1)}
    named |= {f"ap{round(100 * threshold)}": scored["ap"][..., i] for i, threshold in enumerate(THRESHOLDS)}
    named |= {name: scored[name][..., 0] for name in ("precision", "recall", "f1", "sq", "pq")}
    return named | {name: scored[name] for name in ("seg", "aji")}
