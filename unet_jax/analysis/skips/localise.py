"""How much each node and each skip connection of a trained network is worth: the scores with its maps replaced.

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

OF = {"set": "all images", "image": "each image"}  # what a mean is taken of
METRICS = ("iou", "boundary_iou")
THIN = 0.9  # the part of an object in its boundary from which it has no interior to speak of


@dataclasses.dataclass(frozen=True)
class Score:
    """Of a network with one part replaced, `mean` telling by which mean; with nothing replaced both are "".

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
    """Boundary IoU of a source's images, which `evaluate` tells `each`; what is true is looked up once.

    `part` is the share of the kept classes' true pixels that lie in their boundaries.
    """

    def __init__(self, predictor: Predictor, source, share: float):
        self.names, self.report_channels, self.share = predictor.class_names, predictor.report_channels, share
        self.true, inside, pixels = {}, 0, 0
        for index in range(len(source)):
            example = source[index]
            true, valid = true_masks(example["mask"], len(self.names))
            name = example.get("id", str(index))
            if name in self.true:
                raise UserError(
                    f"two images of the split have the id {name!r}, so masks cannot be told apart; rename one"
                )
            d = boundary.distance(*valid.shape, share)
            self.true[name] = boundary.inner_boundary(true & valid[..., None], d), valid, d
            inside += self.true[name][0][..., self.report_channels].sum()
            pixels += (true & valid[..., None])[..., self.report_channels].sum()
        self.part = float(inside / pixels) if pixels else float("nan")
        self.start()

    def start(self) -> None:
        self.counts = {name: np.zeros(len(self.names), np.int64) for name in ("tp", "fp", "fn")}

    def each(self, name: str, masks: np.ndarray, ids: np.ndarray) -> None:
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
    share: float = boundary.SHARE,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, number: None,
) -> list[Score]:
    """Scores the network as it is, then with each node, each skip connection, and all of these together replaced.

    Args:
      predictor: of the trained network.
      graph: of `predictor.network`.
      source: random access to Examples; read once for every score.
      means: "set", "image" or both.
      share: the distance of boundary IoU, in image diagonals.
      batch_size: of an evaluation.
      progress: told how many scores are done, of how many.

    Raises:
      UserError: the source has no image, or none with a reported class.
    """
    if not len(source):
        raise UserError("the split has no image; take another split")
    together = tuple(place for skip in graph.skips for place in skip.places)
    parts = (*graph.nodes, *graph.skips, Part("skips", "all skips", "", "", together))
    places = list(dict.fromkeys(place for part in parts for place in part.places))
    whole = replace.replace_places(predictor, places)
    boundaries = Boundaries(predictor, source, share)
    if boundaries.part > THIN:
        print(
            f"note: {100 * boundaries.part:.0f} % of the pixels of {', '.join(predictor.report_classes)} lie within {100 * share:g} % "
            "of the diagonal from their contours, so boundary IoU is all but IoU; a smaller --boundary tells them apart"
        )
    number = 1 + len(means) * len(parts)

    def scores(of: Predictor) -> dict[str, float]:
        boundaries.start()
        summary, _ = evaluate(of, source, batch_size=batch_size, on_image=boundaries.each)
        iou = {f"iou/{name}": summary[f"iou_pooled/{name}"] for name in (*predictor.class_names, "mean")}
        return iou | boundaries.summarize()

    base = scores(whole)
    if np.isnan(base["iou/mean"]):
        raise UserError(
            "no image of the split has a reported class (eval.classes), so nothing can drop; take another split"
        )
    found = [Score("none", "nothing replaced", "", "", "", base, dict.fromkeys(base, 0.0))]
    progress(1, number)
    for mean in means:
        values = replace.set_means(whole, source, batch_size) if mean == "set" else None
        for part in parts:
            found.append(_score(part, mean, base, scores(replace.replacing(whole, part.places, values))))
            progress(len(found), number)
    return found


def _score(part: Part, mean: str, base: dict[str, float], scores: dict[str, float]) -> Score:
    drops = {name: 100 * (base[name] - value) for name, value in scores.items()}
    return Score(part.kind, part.name, part.source, part.reader, mean, scores, drops)
