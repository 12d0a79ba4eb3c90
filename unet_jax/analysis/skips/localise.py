"""Scores a trained network with the maps of each node and each skip connection replaced by their means.

The mean over the set removes all information about the image from a map. The mean over the image keeps what is in the
image, and removes where it is.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from unet_jax.analysis.skips import replace
from unet_jax.analysis.skips.graph import Graph, Part
from unet_jax.errors import UserError
from unet_jax.evaluation import boundary, metrics
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.inference.predictor import Predictor
from unet_jax.segmentation import true_masks

# The images that each mean is taken over.
MEANS = {"set": "all images", "image": "each image"}
METRICS = ("iou", "boundary_iou")
# Objects with at least this fraction of their pixels in their boundary have nearly no interior.
THIN = 0.9


@dataclasses.dataclass(frozen=True)
class Score:
    """Holds the score of a network with one part replaced.

    Attributes:
      kind: "node", "skip", "skips" for all skips, or "none" for the network with nothing replaced.
      name: name of the part.
      source: node that a skip leads from; "" without one.
      reader: node that a skip leads to; "" without one.
      mean: "set" or "image"; "" with nothing replaced.
      scores: by metric and class, such as `iou/anode`, and `iou/mean` over the reported classes; pooled over the split,
        NaN for an absent class.
      drops: points (percent) below the network with nothing replaced, by the same keys.
    """

    kind: str
    name: str
    source: str
    reader: str
    mean: str
    scores: dict[str, float]
    drops: dict[str, float]


class Boundaries:
    """Computes the boundary IoU of a source's images, which `evaluate` passes to `add`.

    The true boundaries are computed once.

    Args:
      predictor: the trained network.
      source: random access to Examples.
      boundary_distance: distance from the contour, in image diagonals.

    Attributes:
      fraction: the fraction of the reported classes' true pixels that lie in their boundaries.

    Raises:
      UserError: two images have the same id.
    """

    def __init__(self, predictor: Predictor, source: Any, boundary_distance: float):
        self.names, self.report_channels = predictor.class_names, predictor.report_channels
        # By id: the true boundaries, the valid pixels, and the distance in pixels.
        self.true: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}
        inside, pixels = 0, 0
        for index in range(len(source)):
            example = source[index]
            true, valid = true_masks(example["mask"], len(self.names))
            name = example.get("id", str(index))
            if name in self.true:
                raise UserError(
                    f"two images of the split have the id {name!r}, so their masks cannot be distinguished; rename one"
                )
            height, width = valid.shape
            d = boundary.distance(height, width, boundary_distance)
            self.true[name] = boundary.inner_boundary(true & valid[..., None], d), valid, d
            inside += self.true[name][0][..., self.report_channels].sum()
            pixels += (true & valid[..., None])[..., self.report_channels].sum()
        self.fraction = float(inside / pixels) if pixels else float("nan")
        self.start()

    def start(self) -> None:
        """Sets all counts to 0."""
        self.counts = {name: np.zeros(len(self.names), np.int64) for name in ("tp", "fp", "fn")}

    def add(self, name: str, masks: np.ndarray, ids: np.ndarray) -> None:
        """Adds the counts of one image.

        Args:
          name: id of the image.
          masks: predicted masks, bool `[H, W, K]`.
          ids: not used.
        """
        del ids
        true, valid, d = self.true[name]
        for count, value in boundary.counts(boundary.inner_boundary(masks & valid[..., None], d), true).items():
            self.counts[count] += value

    def summarize(self) -> dict[str, float]:
        """Returns `boundary_iou/CLASS` of each class, and `boundary_iou/mean` over the reported classes."""
        iou = metrics.ratios(self.counts)["iou"]
        named = {f"boundary_iou/{name}": float(value) for name, value in zip(self.names, iou, strict=True)}
        return named | {"boundary_iou/mean": float(metrics.nanmean(iou[self.report_channels]))}


def localise(
    predictor: Predictor,
    graph: Graph,
    source: Any,
    *,
    means: tuple[str, ...] = ("set",),
    boundary_distance: float = boundary.BOUNDARY_DISTANCE,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, number: None,
) -> list[Score]:
    """Scores the network as it is, then with each node, each skip connection, and all skips together replaced.

    Args:
      predictor: the trained network.
      graph: the graph of `predictor.network`.
      source: random access to Examples; read once for every score.
      means: "set", "image" or both.
      boundary_distance: distance of boundary IoU from the contour, in image diagonals.
      batch_size: batch size of an evaluation.
      progress: called with the number of scores that are done, and their total.

    Returns:
      The scores; the first is that of the network with nothing replaced.

    Raises:
      UserError: the source has no image, no image with a reported class, or two images with the same id.
    """
    if not len(source):
        raise UserError("the split has no image; choose another split")
    together = tuple(place for skip in graph.skips for place in skip.places)
    parts = (*graph.nodes, *graph.skips, Part("skips", "all skips", "", "", together))
    places = list(dict.fromkeys(place for part in parts for place in part.places))
    whole = replace.replace_places(predictor, places)
    boundaries = Boundaries(predictor, source, boundary_distance)
    if boundaries.fraction > THIN:
        print(
            f"note: {100 * boundaries.fraction:.0f} % of the pixels of {', '.join(predictor.report_classes)} lie within "
            f"{100 * boundary_distance:g} % of the image diagonal from the contour, so boundary IoU nearly equals IoU; give "
            "a smaller --boundary_distance"
        )
    number = 1 + len(means) * len(parts)

    def score(changed: Predictor) -> dict[str, float]:
        boundaries.start()
        summary, _ = evaluate(changed, source, batch_size=batch_size, on_image=boundaries.add)
        iou = {f"iou/{name}": summary[f"iou_pooled/{name}"] for name in (*predictor.class_names, "mean")}
        return iou | boundaries.summarize()

    base = score(whole)
    if np.isnan(base["iou/mean"]):
        raise UserError(
            "no image of the split has a reported class (eval.classes), so there is no score; choose another split"
        )
    scores = [Score("none", "nothing replaced", "", "", "", base, dict.fromkeys(base, 0.0))]
    progress(1, number)
    for mean in means:
        values = replace.set_means(whole, source, batch_size) if mean == "set" else None
        for part in parts:
            scores.append(_score(part, mean, base, score(replace.replacing(whole, part.places, values))))
            progress(len(scores), number)
    return scores


def _score(part: Part, mean: str, base: dict[str, float], scores: dict[str, float]) -> Score:
    drops = {name: 100 * (base[name] - value) for name, value in scores.items()}
    return Score(part.kind, part.name, part.source, part.reader, mean, scores, drops)
