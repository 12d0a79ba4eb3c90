"""Scores of contours of an evaluation: boundary IoU, NSD, HD95, ASSD and clDice of each reported class.

`boundary`, `contours` and `centerlines` define them. Void pixels are outside both masks. HD95 and ASSD are infinite where only
the truth or only the prediction has an object; a row and a mean then take the diagonal of the image, so an image in which
nothing was found counts as bad. `num_infinite/<class>` is the number of such images.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax.evaluation import boundary, centerlines, contours, metrics
from unet_jax.segmentation import true_masks

BOUNDARY = ("tp", "fp", "fn")
CONTOURS = ("near", "length", "hd95", "assd")
# Summed over the images for a pooled score, or of each image alone.
POOLED = ("boundary_iou", "nsd", "cldice")
IMAGE = ("boundary_iou", "nsd", "hd95", "assd", "cldice")


@dataclasses.dataclass(frozen=True)
class BoundaryGroup:
    """Scores contours; see `group.Group`.

    Attributes:
      class_names: the K classes.
      channels: those of the R reported classes.
      tolerance: of NSD, in the unit of `spacing`.
      spacing: height and width of a pixel; by default 1, so that distances are in pixels.
    """

    class_names: Sequence[str]
    channels: Sequence[int]
    tolerance: float = 2.0
    spacing: Sequence[float] = contours.PIXELS
    name: str = "boundary"
    needs_probabilities: bool = False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the counts: one number for each reported class, and the `diagonal` of the image."""
        names = (*BOUNDARY, *CONTOURS, *centerlines.COUNTS)
        return {name: (len(self.channels),) for name in names} | {"diagonal": ()}

    def count(
        self, example: Mapping[str, Any], masks: np.ndarray, probabilities: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Counts the contours of one image; see `Group.count`."""
        truth, valid = true_masks(example["mask"], masks.shape[-1])
        height, width = valid.shape
        true, predicted = (each[..., self.channels] & valid[..., None] for each in (truth, masks))
        d = boundary.distance(height, width)
        counted: dict[str, Any] = boundary.counts(
            boundary.inner_boundary(predicted, d), boundary.inner_boundary(true, d)
        )
        of_classes: list[dict[str, float]] = []
        for r in range(len(self.channels)):
            distances = contours.measure(true[..., r], predicted[..., r], valid, self.spacing)
            near, length = contours.nsd_lengths(distances, self.tolerance)
            values = {
                "near": near,
                "length": length,
                "hd95": contours.hd95(distances),
                "assd": contours.assd(distances),
            }
            of_classes.append(values | centerlines.counts(true[..., r], predicted[..., r]))
        counted |= {
            name: np.array([values[name] for values in of_classes]) for name in (*CONTOURS, *centerlines.COUNTS)
        }
        return counted | {"diagonal": np.asarray(contours.diagonal(height, width, self.spacing))}

    def summarize(self, counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns `<score>_pooled` and `<score>_image` of each reported class and their mean, and `num_infinite/<class>`."""
        pooled = self._scores({name: values.sum(0) for name, values in counts.items()})
        image = self._scores(counts)
        named = {f"{name}_pooled": pooled[name] for name in POOLED}
        named |= {f"{name}_image": metrics.nanmean(image[name], 0) for name in IMAGE}
        infinite = np.isinf(counts["hd95"]).sum(0)
        return self._named(named) | {
            f"num_infinite/{name}": int(n) for name, n in zip(self._names, infinite, strict=True)
        }

    def rows(self, counts: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
        """Returns the scores of each image and reported class, and their mean."""
        image = self._scores(counts)
        return [self._named({name: image[name][i] for name in IMAGE}) for i in range(len(counts["diagonal"]))]

    @property
    def _names(self) -> list[str]:
        return [self.class_names[k] for k in self.channels]

    def _scores(self, counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the scores of counts `[..., R]`. Of a sum over images, `hd95` and `assd` mean nothing."""
        length = counts["length"]
        diagonals = counts["diagonal"][..., None]
        return {
            "boundary_iou": metrics.ratios({name: counts[name] for name in BOUNDARY})["iou"],
            "nsd": counts["near"] / np.where(length > 0, length, np.nan),
            "hd95": contours.finite(counts["hd95"], diagonals),
            "assd": contours.finite(counts["assd"], diagonals),
            "cldice": centerlines.cldice(counts),
        }

    def _named(self, scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns `<score>/<class>` and `<score>/mean` of scores `[R]`."""
        named: dict[str, float] = {}
        for score, values in scores.items():
            named |= {f"{score}/{name}": float(value) for name, value in zip(self._names, values, strict=True)}
            named[f"{score}/mean"] = float(metrics.nanmean(values))
        return named
