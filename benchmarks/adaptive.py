"""Would it pay to run the deep levels of a U-Net++ only where the shallow ones are uncertain? A curve of IoU against time.

    python benchmarks/evidence.py --members

An image is cut into tiles. Every tile runs level 1. A tile whose mean entropy is above a tolerance runs the next level, and so
on. Nothing is skipped here: every level predicts the whole image, and the tiles are put together afterwards. The time is
counted from the measured seconds of the levels, in two ways:

- *bound*: a tile costs its share of the image, and a deeper level only what it adds to the one before. No program can be
  faster.
- *with halo*: a level is computed on all pixels that the tiles read. Where tiles share pixels, they count once.

A program that skips tiles lies between the two.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import members, tables

if TYPE_CHECKING:
    import numpy as np

    from unet_jax.evaluation.jackknife import LeftOut

# The side of a tile in pixels: the multiple of four pools, the smallest part that a network of this depth can skip.
TILE = 16
TOLERANCES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
# The part of the time of the best level within which its score should be reached.
AIM = 0.6


@dataclasses.dataclass(frozen=True)
class Curve:
    """Scores and times of one data set; times are divided by that of the deepest level.

    Attributes:
      data: the data set, and the number of its images.
      level_time: of each level, `[L]`.
      bound: of each tolerance, mean over the networks, `[T]`.
      with_halo: as `bound`.
      levels: the scores per image of the masks of each level, from `jackknife.leave_one_out`.
      adaptive: the same for each tolerance.
      heads: the same for the mean of the heads.
    """

    data: str
    level_time: list[float]
    bound: list[float]
    with_halo: list[float]
    levels: "list[LeftOut]"
    adaptive: "list[LeftOut]"
    heads: "LeftOut"


def measure(data: str, folders: Sequence[Path]) -> Curve:
    """Measures the curve of a data set on val, with the networks of all folders."""
    import numpy as np

    from unet_jax.evaluation.jackknife import leave_one_out
    from unet_jax.runs.load import open_models

    print(f"{data}: levels and tolerances", flush=True)
    source = members.open_data(folders).source(members.SPLIT)
    examples = [source[index] for index in range(len(source))]
    groups = members.groups_of(examples)
    depth = open_models(folders[:1], mode="accurate").segmenter.num_members
    # The deepest level is the network as trained.
    of_levels: dict[str, Any] = {
        f"L{level}": open_models(folders[:1], mode="fast", level=level % depth).segmenter
        for level in range(1, depth + 1)
    }
    level_time = [*members.relative_times(of_levels, f"L{depth}", examples).values()]
    halos = [segmenter.network.halo for segmenter in of_levels.values()]
    counts: list[list[dict[str, np.ndarray]]] = []
    shares = np.zeros((2, len(TOLERANCES), depth))
    for folder in folders:
        segmenter = open_models([folder], mode="accurate").segmenter
        of_images = [of_image(segmenter, example, halos) for example in examples]
        counts.append([_stack([found[0][way] for found in of_images]) for way in range(len(of_images[0][0]))])
        shares += np.average([found[1] for found in of_images], axis=0, weights=[found[2] for found in of_images])
    added = np.diff(level_time, prepend=0.0)
    bound, with_halo = (shares / len(folders)) @ added
    scores = [
        leave_one_out([of_run[way] for of_run in counts], "iou", groups)["image"] for way in range(len(counts[0]))
    ]
    return Curve(
        members.images_of(data, examples),
        level_time,
        [*bound],
        [*with_halo],
        scores[:depth],
        scores[depth + 1 :],
        scores[depth],
    )


def of_image(segmenter: Any, example: Any, halos: Sequence[int]) -> tuple[list, "np.ndarray", int]:
    """Returns the counts of each level, of the mean of the heads and of each tolerance; the shares; and the pixels.

    The shares `[2, T, L]` are the parts of the image for which a level is computed: without and with the halo.
    """
    import numpy as np

    from unet_jax.data.datasets.image_rows import ArrayRows
    from unet_jax.inference.uncertainty import entropy

    bands = list(segmenter.member_bands(ArrayRows(np.asarray(example["image"]))))
    heads = [
        np.concatenate([band.probabilities for band in bands if band.member == member])
        for member in range(segmenter.num_members)
    ]
    mask = np.asarray(example["mask"])
    counted = [_count(segmenter, head, mask) for head in [*heads, np.mean(heads, 0)]]
    uncertain = [mean_of_tiles(entropy(head, segmenter.activation)) for head in heads]
    shares = np.zeros((2, len(TOLERANCES), len(heads)))
    for number, tolerance in enumerate(TOLERANCES):
        runs = np.ones(mask.shape[:2], bool)
        joined = heads[0].copy()
        for level, head in enumerate(heads):
            shares[0, number, level] = runs.mean()
            shares[1, number, level] = _widened(runs, halos[level]).mean()
            joined[runs] = head[runs]
            runs = runs & (uncertain[level] > tolerance)
        counted.append(_count(segmenter, joined, mask))
    return counted, shares, mask.shape[0] * mask.shape[1]


def _count(segmenter: Any, probabilities: "np.ndarray", mask: "np.ndarray") -> "dict[str, np.ndarray]":
    """Returns `tp`, `fp`, `fn` `[K']` of the reported classes."""
    import numpy as np

    from unet_jax.evaluation import jackknife, metrics
    from unet_jax.segmentation import to_masks

    masks, _ = to_masks(probabilities[None], segmenter.activation)
    counted = metrics.counts(masks, mask[None], np.ones((1, *mask.shape[:2]), bool))
    return {name: np.asarray(counted[name])[0, segmenter.report_channels] for name in jackknife.COUNTS}


def _stack(counted: "Sequence[dict[str, np.ndarray]]") -> "dict[str, np.ndarray]":
    import numpy as np

    return {name: np.stack([of_image[name] for of_image in counted]) for name in counted[0]}


def mean_of_tiles(values: "np.ndarray") -> "np.ndarray":
    """Returns the mean of the tile of each pixel, `[H, W]` -> `[H, W]`."""
    import numpy as np

    height, width = values.shape
    rows, columns = np.arange(0, height, TILE), np.arange(0, width, TILE)
    total = np.add.reduceat(np.add.reduceat(values, rows, 0), columns, 1)
    size = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    return np.repeat(np.repeat(total / size, TILE, 0), TILE, 1)[:height, :width]


def _widened(region: "np.ndarray", by: int) -> "np.ndarray":
    """Returns the pixels of a region and those that are at most `by` rows and columns away."""
    import cv2
    import numpy as np

    return cv2.dilate(region.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)).astype(bool)


TITLES = (
    "data, images",
    "best level",
    "IoU",
    "time",
    f"best level in {AIM:g} of it",
    "IoU",
    "tiles, bound: IoU",
    "difference to the best level (95 %, t on the logit scale)",
    "tiles, with halo: IoU",
)


def table(curves: Sequence[Curve]) -> str:
    """Returns a Markdown table: the best level, and what is reached in `AIM` of its time."""
    from unet_jax.analysis.compare.estimate import difference

    lines = []
    for curve in curves:
        levels = [values.mean() for values in curve.levels]
        best = max(range(len(levels)), key=levels.__getitem__)
        limit = AIM * curve.level_time[best]
        adaptive = [values.mean() for values in curve.adaptive]
        fixed = max(
            (score, f"L{number + 1}") for number, score in enumerate(levels) if curve.level_time[number] <= limit
        )
        chosen = max((n for n in range(len(adaptive)) if curve.bound[n] <= limit), key=adaptive.__getitem__)
        less, low, high = difference(curve.levels[best], curve.adaptive[chosen], same_seeds=True)
        halo = [adaptive[n] for n in range(len(adaptive)) if curve.with_halo[n] <= limit]
        lines.append(
            [
                curve.data,
                f"L{best + 1}",
                f"{levels[best]:.3f}",
                f"{curve.level_time[best]:.2f}",
                fixed[1],
                f"{fixed[0]:.3f}",
                f"{adaptive[chosen]:.3f}",
                f"{less:+.3f} ({low:+.3f} to {high:+.3f})",
                f"{max(halo):.3f}" if halo else tables.NONE,
            ]
        )
    return tables.table(TITLES, lines)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draws a panel for each data set: IoU against time."""
    from unet_jax.plotting.figures import COLOURS, new_figure, save_figure

    figure = new_figure(4.2 * len(curves), 4.2)
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, curve in zip(axes, curves, strict=True):
        scores = [values.mean() for values in curve.levels]
        adaptive = [values.mean() for values in curve.adaptive]
        axis.plot(curve.level_time, scores, "o", color=COLOURS[0], label="levels, whole image")
        for number, place in enumerate(zip(curve.level_time, scores, strict=True)):
            axis.annotate(f"L{number + 1}", place, textcoords="offset points", xytext=(4, -12), fontsize=9)
        axis.plot(
            curve.level_time[-1], curve.heads.mean(), "*", markersize=9, color=COLOURS[1], label="mean of the heads"
        )
        axis.plot(curve.bound, adaptive, "-", marker=".", color=COLOURS[2], label="tiles, bound")
        axis.plot(curve.with_halo, adaptive, "--", marker=".", color=COLOURS[3], label="tiles, with halo")
        axis.set_title(curve.data.replace("`", ""), loc="left", fontsize=10)
        axis.set_xlabel("time / time of the deepest level")
        axis.set_ylabel("IoU per image")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, path)


def run_all(folders: Mapping[str, Sequence[Path]], picture: Path) -> Iterator[tuple[str, str]]:
    """Measures the curves and draws the picture; yields the table as Markdown, with the name of its place in the page.

    Args:
      folders: the folders of the runs, by data set.
      picture: the file of the picture.
    """
    curves = [measure(data, of_data) for data, of_data in folders.items()]
    draw(curves, picture)
    yield "adaptive", table(curves)
