"""Scores a trained network with the maps of each node and each skip connection replaced: how much they are worth.

The mean over the set leaves nothing of the image in a map; the mean over the image leaves what is in it, and takes where.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from unet_jax.analysis.skips import replace
from unet_jax.analysis.skips.graph import Graph, Part
from unet_jax.errors import UserError
from unet_jax.evaluation import boundary, metrics
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.inference.predictor import Predictor
from unet_jax.segmentation import true_masks

# What each mean is taken of.
OF = {"set": "all images", "image": "each image"}
METRICS = ("iou", "boundary_iou")
# Objects with at least this fraction of their pixels in their boundary have nearly no interior.
THIN = 0.9


@dataclasses.dataclass(frozen=True)
class Score:
    """The score of a network with the part `kind`, `name` replaced by the mean `mean`; with nothing replaced all are "".

    `scores` and `drops` are by metric and class, `iou/anode`, and `.../mean` over the reported classes; pooled over the split,
    NaN where a class is absent. `drops` are points (percent) below the network with nothing replaced.
    """

    kind: str
    name: str
    source: str
    reader: str
    mean: str
    scores: dict[str, float]
    drops: dict[str, float]


class Boundaries:
    """Boundary IoU of a source's images, which `evaluate` passes to `add`; the true boundaries are computed once.

    `fraction` is the fraction of the reported classes' true pixels that lie in their boundaries.
    """

    def __init__(self, predictor: Predictor, source, boundary_distance: float):
        self.names, self.report_channels = predictor.class_names, predictor.report_channels
        self.true, inside, pixels = {}, 0, 0
        for index in range(len(source)):
            example = source[index]
            true, valid = true_masks(example["mask"], len(self.names))
            name = example.get("id", str(index))
            if name in self.true:
                raise UserError(
                    f"two images of the split have the id {name!r}, so masks cannot be told apart; rename one"
                )
            d = boundary.distance(*valid.shape, boundary_distance)
            self.true[name] = boundary.inner_boundary(true & valid[..., None], d), valid, d
            inside += self.true[name][0][..., self.report_channels].sum()
            pixels += (true & valid[..., None])[..., self.report_channels].sum()
        self.fraction = float(inside / pixels) if pixels else float("nan")
        self.start()

    def start(self) -> None:
        self.counts = {name: np.zeros(len(self.names), np.int64) for name in ("tp", "fp", "fn")}

    def add(self, name: str, masks: np.ndarray, ids: np.ndarray) -> None:
        del ids
        true, valid, d = self.true[name]
        for count, value in boundary.counts(boundary.inner_boundary(masks & valid[..., None], d), true).items():
            self.counts[count] += value

    def summarize(self) -> dict[str, float]:
        iou = metrics.ratios(self.counts)["iou"]
        named = {f"boundary_iou/{name}": float(value) for name, value in zip(self.names, iou, strict=True)}
        return named | {"boundary_iou/mean": float(metrics.nanmean(iou[self.report_channels]))}


def localise(
    predictor: Predictor,
    graph: Graph,
    source,
    *,
    means: tuple[str, ...] = ("set",),
    boundary_distance: float = boundary.BOUNDARY_DISTANCE,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, number: None,
) -> list[Score]:
    """Scores the network as it is, then with each node, each skip connection, and all of these together replaced.

    Args:
      predictor: of the trained network.
      graph: of `predictor.network`.
      source: random access to Examples; read once for every score.
      means: "set", "image" or both.
      boundary_distance: of boundary IoU, in image diagonals.
      batch_size: of an evaluation.
      progress: called with how many scores are done, of how many.

    Raises:
      UserError: the source has no image, or none with a reported class.
    """
    if not len(source):
        raise UserError("the split has no image; take another split")
    together = tuple(place for skip in graph.skips for place in skip.places)
    parts = (*graph.nodes, *graph.skips, Part("skips", "all skips", "", "", together))
    places = list(dict.fromkeys(place for part in parts for place in part.places))
    whole = replace.replace_places(predictor, places)
    boundaries = Boundaries(predictor, source, boundary_distance)
    if boundaries.fraction > THIN:
        print(
            f"note: {100 * boundaries.fraction:.0f} % of the pixels of {', '.join(predictor.report_classes)} lie within "
            f"{100 * boundary_distance:g} % of the diagonal from their contours, so boundary IoU nearly equals IoU; give a "
            "smaller --boundary_distance"
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
            "no image of the split has a reported class (eval.classes), so nothing can drop; take another split"
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
