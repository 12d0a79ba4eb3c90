"""Plates of an electrode stack: the scores of three seeds, and the worst images, on synthetic and on real X-rays.

    python benchmarks/evidence.py --plates

predicts with the runs of `RUNS` that are done, in the mode of their config, and writes the tables and the worst images into
docs/explanation/results.md. Only the worst synthetic images become pictures; those of other data are described. Nothing is trained,
and nothing is written into the runs. The scores are those of `unet-jax calibrate` and `unet-jax eval --metrics=plates`: the factor of
the intervals comes from val where there is a split test.

An image is as bad as with its worst network. The images are sorted by the number of plates that are too many or too few,
then by the largest error of an overhang; by that of a tip where the stack has one kind of plates.
"""

import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import field_scores, members, rows, tables

if TYPE_CHECKING:
    import numpy as np

    from unet_jax.data.dataset import Dataset
    from unet_jax.inference.segmenter import Segmenter
    from unet_jax.measurement.plates.find import Stack
    from unet_jax.measurement.plates.roles import Roles
    from unet_jax.measurement.plates.scores import ImageScores, Tip

# Of each data set: the network and its minutes; the runs differ in the seed alone.
RUNS = {"electrodes": ("unet", 2), "battery_xray": ("unet_pp", 5)}
# Images of these data may be shown.
SYNTHETIC = ("electrodes",)
NUM_WORST = 3
# Synthetic images that no run has seen and no rule was chosen on, and their parts: title, least and most pixels.
FRESH_SEED, NUM_FRESH = 11, 512
PARTS = (
    ("less than 16 pixels", 0, 16),
    ("16 to 63 pixels", 16, 64),
    ("64 pixels and more", 64, math.inf),
    ("all images", 0, math.inf),
)
TITLES = {
    "AN-MAE": "AN-MAE",
    "CN-MAE": "CN-MAE",
    "AN-ACC": "AN-ACC",
    "CN-ACC": "CN-ACC",
    "PN-ACC": "PN-ACC, both numbers exact",
    "AL-MAE": "AL-MAE",
    "CL-MAE": "CL-MAE",
    "OH-MAE": "OH-MAE",
    "tip/mean": "tip error, mean over all images",
    "tip/median": "tip error, median over all images",
    "tip/coverage": "tips that are matched",
    "overhang/mean": "error of the signed overhang, mean over all images",
    "overhang/sign": "sign of the overhang right",
    "overhang/coverage": "overhangs that are measured",
    "interval/coverage": "90 % intervals that hold the true overhang",
    "interval/width": "mean width of these intervals",
}
OF_INTERVALS = ("interval/coverage", "interval/width", "overhang/mean")
# Of the pictures: the plates and the tips of each kind.
COLOURS = ("#56b4e9", "#e69f00")


@dataclasses.dataclass(frozen=True)
class Seen:
    """The plates of an image.

    Attributes:
      example: the Example.
      found: the plates that were found.
      true: the true ones.
      scores: of the first against the second.
      roles: the classes of the stack.
    """

    example: Mapping[str, Any]
    found: "Stack"
    true: "list[Tip]"
    scores: "ImageScores"
    roles: "Roles"

    @property
    def folded(self) -> bool:
        """True if a true plate is folded; False where that is not known."""
        return any(plate["folded"] for plate in json.loads(self.example.get("plates", "[]")))

    @property
    def least(self) -> int:
        """The pixels of the true plate of which the image shows least."""
        import numpy as np

        return int(np.unique_counts(self.example["instances"]).counts[1:].min())

    @property
    def num_wrong(self) -> int:
        """The plates that are too many or too few, summed over the kinds."""
        return sum(abs(a - b) for a, b in zip(self.scores.num_found, self.scores.num_true, strict=True))

    @property
    def largest(self) -> float:
        """The largest error of an overhang, or of a tip where there are no overhangs; 0 without either."""
        errors = [abs(pair.found - pair.true) for pair in self.scores.overhangs]
        return max([0.0, *(errors or self.scores.matched)])


@dataclasses.dataclass(frozen=True)
class Scored:
    """The plates of the scored split.

    Attributes:
      images: what a network finds; of true masks, what is found in them.
      factor: of the intervals, see `measurement.plates.intervals`; NaN for none.
    """

    images: list[Seen]
    factor: float = math.nan

    def summary(self, num_kinds: int, *, folded: bool = True) -> dict[str, float]:
        """Returns the scores by name, of all images or of those without a folded plate."""
        from unet_jax.measurement.plates.scores import summarize

        images = [image.scores for image in self.images if folded or not image.folded]
        return summarize(images, num_kinds=num_kinds, factor=self.factor)


def rows_of(data: str) -> list[rows.Row]:
    """Returns the rows of a data set whose runs are scored, one for each seed."""
    return [
        row for row in rows.ROWS if (row.data, row.variant, row.minutes, row.train_fraction) == (data, *RUNS[data], 1)
    ]


def see(
    example: Mapping[str, Any], masks: "np.ndarray", probabilities: "np.ndarray", roles: "Roles", names: Sequence[str]
) -> Seen:
    """Finds the plates of an image, and compares them with the true ones.

    Args:
      example: the Example.
      masks: of all classes, bool `[H, W, K]`.
      probabilities: of all classes, `[H, W, K]`.
      roles: the classes of the stack.
      names: of all classes.
    """
    from unet_jax.measurement.plates.find import find_plates
    from unet_jax.measurement.plates.scores import score_image
    from unet_jax.measurement.plates.truth import true_plates

    found, true = find_plates(masks, probabilities, *roles.channels(names)), true_plates(example, roles, names)
    return Seen(example, found, true, score_image(found.plates, true), roles)


def score(folders: Sequence[Path], dataset: "Dataset", views: str = "") -> Scored:
    """Finds the plates of the scored split; fits the factor of the intervals on val where test is scored.

    Args:
      folders: of the runs, which predict together.
      dataset: their data.
      views: see `unet_jax.inference.views`.
    """
    from unet_jax.measurement.plates.intervals import fit_factor
    from unet_jax.runs.load import open_models

    segmenter = open_models(folders, views=views).segmenter
    split = field_scores.scored_split(dataset)
    images = see_all(segmenter, dataset, split)
    factor = math.nan
    if split == "test" and "val" in dataset.splits and len(images[0].roles.plates) > 1:
        pairs = [pair for image in see_all(segmenter, dataset, "val") for pair in image.scores.overhangs]
        factor = fit_factor([pair.found - pair.true for pair in pairs], [pair.scale for pair in pairs])
    return Scored(images, factor)


def see_all(segmenter: "Segmenter", dataset: "Dataset", split: str) -> list[Seen]:
    """Predicts a split and finds the plates of its images."""
    from unet_jax.measurement.plates.roles import find_roles
    from unet_jax.segmentation import to_masks

    names = segmenter.class_names
    roles = find_roles(names)
    predicted = field_scores.predict(segmenter, dataset, split)
    return [
        see(each.example, to_masks(each.probabilities, segmenter.activation)[0], each.probabilities, roles, names)
        for each in predicted
    ]


def score_truth(dataset: "Dataset", roles: "Roles") -> Scored:
    """Finds the plates in the true masks of the scored split: what a perfect network would score."""
    from unet_jax.segmentation import true_masks

    source, names = dataset.source(field_scores.scored_split(dataset)), dataset.class_names
    images = []
    for index in range(len(source)):
        masks, _ = true_masks(source[index]["mask"], len(names))
        images.append(see(source[index], masks, masks, roles, names))
    return Scored(images)


def scores_table(runs: Sequence[Scored], truth: Scored, num_kinds: int) -> str:
    """Returns the table of the scores: of each seed, of all, of those without a folded plate, and of true masks."""
    num_images = len(truth.images)
    num_flat = sum(not image.folded for image in truth.images)
    summaries = [run.summary(num_kinds) for run in runs]
    titles = ["score", *(f"seed {seed}" for seed in range(len(runs))), f"mean, {num_images} images"]
    columns: list[Callable[[str], str]] = [
        *(lambda name, summary=summary: _number(summary[name]) for summary in summaries),
        lambda name: _spread([summary[name] for summary in summaries]),
    ]
    if flat := num_flat < num_images:
        titles.append(f"{num_flat} without a folded plate")
        without = [run.summary(num_kinds, folded=False) for run in runs]
        columns.append(lambda name: _spread([summary[name] for summary in without]))
    titles.append("true masks")
    of_truth = truth.summary(num_kinds)
    columns.append(lambda name: _number(of_truth.get(name, math.nan)))
    if flat:
        titles.append(f"true masks, {num_flat}")
        of_flat = truth.summary(num_kinds, folded=False)
        columns.append(lambda name: _number(of_flat.get(name, math.nan)))
    lines = [
        [title, *(column(name) for column in columns)]
        for name, title in TITLES.items()
        if name in summaries[0] and not math.isnan(summaries[0][name])
    ]
    return tables.table(titles, lines)


def _number(value: float) -> str:
    return tables.NONE if math.isnan(value) else f"{value:.3f}"


def _spread(values: Sequence[float]) -> str:
    return tables.NONE if any(map(math.isnan, values)) else field_scores.spread(values, 3)


def intervals_table(runs: Sequence[Scored], folders: Sequence[Path], dataset: "Dataset") -> str:
    """Returns the table of the intervals of one network, of its views, and of all networks together.

    Args:
      runs: what each network finds alone.
      folders: of the networks.
      dataset: their data.
    """
    ways = {
        "one network": runs,
        "one network, flips": [score([folder], dataset, "flips") for folder in folders],
        f"{len(folders)} networks": [score(folders, dataset)],
    }
    lines = []
    for name, of_way in ways.items():
        summaries = [run.summary(2) for run in of_way]
        factor = field_scores.spread([run.factor for run in of_way], 3)
        lines.append([name, factor, *(_spread([summary[key] for summary in summaries]) for key in OF_INTERVALS)])
    return tables.table(("prediction", "factor", *(TITLES[key] for key in OF_INTERVALS)), lines)


def counts_table(folders: Sequence[Path]) -> str:
    """Returns how often the numbers of plates are exact in `NUM_FRESH` fresh images without a folded plate.

    Args:
      folders: of the runs, each of which predicts alone.
    """
    from unet_jax import data
    from unet_jax.runs.load import open_models

    dataset = data.load("electrodes", seed=FRESH_SEED, num_train=0, num_val=0, num_test=NUM_FRESH)
    runs = [see_all(open_models([folder]).segmenter, dataset, "test") for folder in folders]
    flat = [[image for image in run if not image.folded] for run in runs]
    lines = []
    for title, least, most in PARTS:
        chosen = [[image for image in run if least <= image.least < most] for run in flat]
        exact = [statistics.mean([not image.num_wrong for image in run]) if run else math.nan for run in chosen]
        lines.append([title, str(len(chosen[0])), _spread(exact)])
    return tables.table(("the plate of which an image shows least", "images", TITLES["PN-ACC"]), lines)


def worst(runs: Sequence[Scored]) -> list[tuple[int, Seen]]:
    """Returns the `NUM_WORST` worst images, each with the seed that is worst there; see the module."""

    def badness(item: tuple[int, Seen]) -> tuple[int, float]:
        return item[1].num_wrong, item[1].largest

    of_images = zip(*(run.images for run in runs), strict=True)
    each = [max(enumerate(of_image), key=badness) for of_image in of_images]
    return sorted(each, key=badness, reverse=True)[:NUM_WORST]


def describe(seed: int, image: Seen, names: Sequence[str]) -> str:
    """Returns the errors of an image in words.

    Args:
      seed: of the network.
      image: what it found.
      names: of the kinds of plates.
    """
    counted = " and ".join(
        f"{image.scores.num_found[kind]} {name}s (true: {image.scores.num_true[kind]})"
        for kind, name in enumerate(names)
    )
    text = f"Image {image.example['id']}, seed {seed}: {counted} are found"
    if matched := image.scores.matched:
        text += f"; tips are off by {statistics.median(matched):.1f} px in the median, by {max(matched):.1f} px at most"
    if image.scores.overhangs:
        pair = max(image.scores.overhangs, key=lambda pair: abs(pair.found - pair.true))
        text += f"; the worst overhang is {pair.found:.1f} px (true: {pair.true:.1f})"
    return f"{text}."


def draw(image: Seen, names: Sequence[str], path: Path) -> None:
    """Draws the found and the true plates of an image side by side, and the tips of both in both; writes a PNG.

    Args:
      image: what is drawn.
      names: of the kinds of plates.
      path: of the file.
    """
    import numpy as np

    from unet_jax.plotting.figures import new_figure, save_figure

    picture = np.asarray(image.example["image"])[..., 0]
    instances = np.asarray(image.example["instances"])
    figure = new_figure(7.0, 3.9)
    kinds = ([plate.kind for plate in image.found.plates], [plate.kind for plate in image.true])
    for place, (title, labels, of_labels) in enumerate(
        (("found", image.found.labels, kinds[0]), ("true", instances, kinds[1])), 1
    ):
        axes = figure.add_subplot(1, 2, place)
        axes.imshow(picture, cmap="gray", interpolation="nearest")
        for number, kind in enumerate(of_labels, 1):
            if (labels == number).any():
                axes.contour(labels == number, levels=[0.5], colors=[COLOURS[kind]], linewidths=1)
        for plates, marker, size in ((image.true, "o", 7), (image.found.plates, "x", 5)):
            for kind, colour in enumerate(COLOURS):
                tips = [plate.tip for plate in plates if plate.kind == kind and plate.tip is not None]
                x, y = zip(*tips, strict=True) if tips else ((), ())
                axes.plot(x, y, marker, color=colour, markersize=size, fillstyle="none", linestyle="none")
        axes.set_title(f"{title}: {' and '.join(f'{of_labels.count(k)} {name}s' for k, name in enumerate(names))}")
        axes.axis("off")
    handles = [
        figure.axes[0].plot([], [], marker, color="black", fillstyle="none", linestyle="none", label=label)[0]
        for marker, label in (("o", "true tip"), ("x", "found tip"))
    ]
    handles += [
        figure.axes[0].plot([], [], color=colour, label=name)[0] for colour, name in zip(COLOURS, names, strict=False)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)


def run_all(folders: Mapping[str, Sequence[Path]], pictures: Path) -> Iterator[tuple[str, str]]:
    """Scores the data sets; yields tables and worst images as Markdown, with the names of their places in the page.

    Args:
      folders: the folders of the runs, by data set.
      pictures: the folder of the pictures.
    """
    from unet_jax.measurement.plates.roles import find_roles

    for data, of_data in folders.items():
        dataset = members.open_data(of_data)
        roles = find_roles(dataset.class_names)
        runs = []
        for folder in of_data:
            print(f"finding the plates of {folder.name}", flush=True)
            runs.append(score([folder], dataset))
        yield f"plates-{data}", scores_table(runs, score_truth(dataset, roles), len(roles.plates))
        if not math.isnan(runs[0].factor):
            yield f"plates-intervals-{data}", intervals_table(runs, of_data, dataset)
        if data in SYNTHETIC:
            yield f"plates-counts-{data}", counts_table(of_data)
        lines = []
        for number, (seed, image) in enumerate(worst(runs), 1):
            text = describe(seed, image, roles.plates)
            if data in SYNTHETIC:
                path = pictures / f"{data}_plates_worst{number}.png"
                draw(image, roles.plates, path)
                alt = f"Found and true plates of image {image.example['id']}, with the tips of both"
                text = f"![{alt}](../images/{path.name})\n\n{text}\n"
            else:
                text = f"- {text}"
            lines.append(text)
        yield f"plates-worst-{data}", "\n".join(lines).rstrip()
