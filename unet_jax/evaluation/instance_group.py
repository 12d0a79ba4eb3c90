"""Scores of objects of an evaluation: instances of the data set against connected pieces of the predicted masks.

A predicted object is a piece of the mask of its class whose pixels are connected by sides or corners. A true object is an
instance of the Example, and it has the class, but the background, that most of its pixels have in the true masks; without a pixel of
a class it is left out. A class is scored if an instance of the split has it.

In masks with borders (`data.targets` "borders") a predicted object is a piece of the interior, grown into the border, and a true
object has the class of the interior.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import skimage.measure

from unet_jax.data.targets import BORDER_ID, OBJECT_ID
from unet_jax.evaluation import border_objects, instances
from unet_jax.evaluation.metrics import nanmean
from unet_jax.segmentation import true_masks

# Of each image, the scores of `instances.by_name` that rows have.
ROW_SCORES = ("ap", "ap50", "f1", "pq", "seg", "aji")


def connected_pieces(mask: np.ndarray) -> np.ndarray:
    """Returns the number of the piece of each pixel, from 1, and 0 outside the mask; sides and corners connect.

    >>> connected_pieces(np.array([[True, False, False], [False, True, False], [False, False, False], [True, True, False]])).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 0], [2, 2, 0]]
    """
    return skimage.measure.label(mask, connectivity=2)


def by_class(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns the instances of each class; an instance has the class that most of its pixels have, the first of several.

    An instance without a pixel in any of the masks is left out.

    >>> masks = np.array([[[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]], bool)
    >>> by_class(np.array([[4, 4, 4, 7, 0]]), masks).transpose(2, 0, 1).tolist()
    [[[4, 4, 4, 0, 0]], [[0, 0, 0, 7, 0]]]

    Args:
      labels: numbers of the instances, `[H, W]`; 0 is background.
      truth: the true masks, bool `[H, W, K]`.

    Returns:
      `[H, W, K]`, of the type of `labels`.
    """
    ids, places = np.unique(labels, return_inverse=True)
    pixels = [np.bincount(places.ravel(), truth[..., k].ravel(), len(ids)) for k in range(truth.shape[-1])]
    most = np.where(np.max(pixels, 0) > 0, np.argmax(pixels, 0), -1)
    return np.where(most[places.reshape(labels.shape)][..., None] == np.arange(truth.shape[-1]), labels[..., None], 0)


@dataclasses.dataclass(frozen=True)
class InstanceGroup:
    """Scores objects; see `group.Group` and `instances`.

    Attributes:
      class_names: the K classes.
      border_width: that of masks with borders; 0 for other masks.
    """

    class_names: Sequence[str]
    border_width: float = 0.0
    name: str = "instances"
    needs_probabilities: bool = False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of `instances.counts`, for each class."""
        num_classes, num_thresholds = len(self.class_names), len(instances.THRESHOLDS)
        return {
            name: (num_classes, num_thresholds) if name in instances.MATCHED else (num_classes,)
            for name in instances.COUNTS
        }

    def count(
        self, example: Mapping[str, Any], masks: np.ndarray, probabilities: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Counts the objects of one image; see `Group.count`."""
        truth, valid = true_masks(example["mask"], masks.shape[-1])
        if len(self.class_names) > 1:
            # An instance that is drawn larger than its mask is an object all the same.
            truth[..., 0] = False
        if self.border_width:
            truth[..., OBJECT_ID] |= truth[..., BORDER_ID]
            truth[..., BORDER_ID] = False
        true, found = by_class(np.asarray(example["instances"]), truth), self.find_objects(masks)
        counted = [instances.counts(true[..., k], found[k], valid) for k in range(masks.shape[-1])]
        return {name: np.stack([count[name] for count in counted]) for name in instances.COUNTS}

    def find_objects(self, masks: np.ndarray) -> list[np.ndarray]:
        """Returns the numbers of the predicted objects of each class, `[H, W]`; 0 is no object.

        Args:
          masks: bool `[H, W, K]`.
        """
        if not self.border_width:
            return [connected_pieces(mask) for mask in np.moveaxis(masks, -1, 0)]
        found = [np.zeros(masks.shape[:2], np.int64)] * len(self.class_names)
        found[OBJECT_ID] = border_objects.grow(
            connected_pieces(border_objects.interiors(masks)),
            border_objects.ground(masks),
            border_objects.growth(self.border_width),
        )
        return found

    def summarize(self, counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the scores of `instances.summarize` for each class, their means over the classes, and numbers of objects.

        `num_true/<class>` and `num_predicted/<class>` are the numbers of objects of the split.
        """
        scored = self._scored(counts)
        of_classes = {name: instances.summarize(_of_class(counts, k)) for k, name in scored.items()}
        named = _with_mean(of_classes)
        for k, name in scored.items():
            named |= {f"num_true/{name}": int(counts["num_true"][:, k].sum())}
            named |= {f"num_predicted/{name}": int(_num_predicted(counts)[:, k].sum())}
        return named

    def rows(self, counts: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
        """Returns `ROW_SCORES` and the numbers of objects of each image and class."""
        scored, named = self._scored(counts), instances.by_name(instances.scores(counts))
        rows = []
        for i in range(len(counts["num_true"])):
            row = _with_mean(
                {name: {score: float(named[score][i, k]) for score in ROW_SCORES} for k, name in scored.items()}
            )
            for k, name in scored.items():
                row |= {f"num_true/{name}": int(counts["num_true"][i, k])}
                row |= {f"num_predicted/{name}": int(_num_predicted(counts)[i, k])}
            rows.append(row)
        return rows

    def _scored(self, counts: Mapping[str, np.ndarray]) -> dict[int, str]:
        """Returns the classes that an instance has, by channel."""
        return {k: name for k, name in enumerate(self.class_names) if counts["num_true"][:, k].any()}


def _of_class(counts: Mapping[str, np.ndarray], k: int) -> dict[str, np.ndarray]:
    return {name: values[:, k] for name, values in counts.items()}


def _num_predicted(counts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the predicted objects of each image and class, without those that are left out for void, `[N, K]`."""
    return counts["tp"][..., 0] + counts["fp"][..., 0]


def _with_mean(of_classes: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Returns `<score>/<class>`, and `<score>/mean` over the classes that have a score."""
    named: dict[str, float] = {}
    scores = next(iter(of_classes.values()), {})
    for score in scores:
        named |= {f"{score}/{name}": values[score] for name, values in of_classes.items()}
        named[f"{score}/mean"] = float(nanmean([values[score] for values in of_classes.values()]))
    return named
