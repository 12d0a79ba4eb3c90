"""Scores that the fields use: calibration before and after a temperature, objects of nuclei, and contours of electrodes.

    python benchmarks/evidence.py --scores

predicts with the U-Net++ of three seeds of each data set, whose runs are done, in the mode of their config, and writes the
tables into docs/explanation/results.md. Nothing is trained, and nothing is written into the runs.

The temperature is fitted on images that are not scored. Where there is a test split, it is fitted on val and scored on test.
Otherwise val is cut into two halves of whole groups; the temperature of each half is applied to the other half, and all images
are scored in one sum.
"""

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import members, tables

if TYPE_CHECKING:
    import numpy as np

    from unet_jax.data.dataset import Dataset
    from unet_jax.inference.segmenter import Segmenter

CALIBRATION = ("ece", "brier", "nll")
OBJECTS = ("ap50", "ap75", "f1", "pq", "seg", "aji")
CONTOURS = ("boundary_iou", "nsd", "hd95", "assd")
# The data whose objects, and whose contours, are scored.
OF_OBJECTS = ("nuclei",)
OF_CONTOURS = ("electrodes", "battery_xray")


@dataclasses.dataclass(frozen=True)
class Predicted:
    """An image of a split and what a network predicts for it.

    Attributes:
      example: the Example.
      probabilities: float32 `[H, W, K]`.
    """

    example: Mapping[str, Any]
    probabilities: "np.ndarray"


@dataclasses.dataclass(frozen=True)
class Scored:
    """The scores of one run.

    Attributes:
      temperatures: one, or that of each half of val.
      before: the scores `CALIBRATION` of the probabilities as they are.
      after: the same at the temperature.
      objects: the scores of `evaluation.instance_group`; {} if they are not asked for.
      contours: the scores of `evaluation.boundary_group`; {} if they are not asked for.
    """

    temperatures: list[float]
    before: dict[str, float]
    after: dict[str, float]
    objects: dict[str, float]
    contours: dict[str, float]


def scored_split(dataset: "Dataset") -> str:
    """Returns the split that is scored: test, or val where there is no test."""
    return "test" if "test" in dataset.splits else "val"


def predict(segmenter: "Segmenter", dataset: "Dataset", split: str) -> list[Predicted]:
    """Predicts all images of a split."""
    import numpy as np

    source = dataset.source(split)
    examples = [source[index] for index in range(len(source))]
    return [Predicted(example, segmenter.predict_images([np.asarray(example["image"])])[0]) for example in examples]


def halves(groups: Sequence[str]) -> list[int]:
    """Returns 0 or 1 for each image: the groups go to the two halves in turn, the largest first."""
    by_size = sorted(set(groups), key=lambda group: (-groups.count(group), group))
    half_of = {group: place % 2 for place, group in enumerate(by_size)}
    return [half_of[group] for group in groups]


def score(folder: Path, dataset: "Dataset", data: str) -> Scored:
    """Scores one run.

    Args:
      folder: the folder of the run.
      dataset: its data.
      data: the name of the data set, which decides whether objects and contours are scored.
    """
    from unet_jax.evaluation.boundary_group import BoundaryGroup
    from unet_jax.evaluation.instance_group import InstanceGroup
    from unet_jax.runs.load import open_models

    segmenter, split = open_models([folder]).segmenter, scored_split(dataset)
    images = predict(segmenter, dataset, split)
    if split == "test":
        temperatures = [temperature(predict(segmenter, dataset, "val"), segmenter.activation)]
        place_of = [0] * len(images)
    else:
        half_of = halves(members.groups_of([image.example for image in images]))
        temperatures = [
            temperature(
                [image for image, half in zip(images, half_of, strict=True) if half == fitted], segmenter.activation
            )
            for fitted in (0, 1)
        ]
        place_of = [1 - half for half in half_of]
    objects = InstanceGroup(segmenter.class_names)
    contours = BoundaryGroup(segmenter.class_names, segmenter.report_channels)
    return Scored(
        temperatures,
        calibration_of(images, [1.0] * len(images), segmenter.activation),
        calibration_of(images, [temperatures[place] for place in place_of], segmenter.activation),
        summary_of(objects, images, segmenter.activation) if data in OF_OBJECTS else {},
        summary_of(contours, images, segmenter.activation) if data in OF_CONTOURS else {},
    )


def temperature(images: Sequence[Predicted], activation: str) -> float:
    """Returns the temperature of the lowest NLL; see `evaluation.fit_temperature`."""
    from unet_jax.evaluation.calibration_group import MOST_PIXELS
    from unet_jax.evaluation.fit_temperature import fit_temperature, sample

    most = max(MOST_PIXELS // len(images), 1)
    return fit_temperature([sample(image.probabilities, image.example["mask"], most) for image in images], activation)


def calibration_of(images: Sequence[Predicted], temperatures: Sequence[float], activation: str) -> dict[str, float]:
    """Returns the scores `CALIBRATION` of all pixels of the images, each at its temperature."""
    from unet_jax.evaluation import calibration
    from unet_jax.inference.temperature import apply_temperature

    totals: dict[str, Any] = dict.fromkeys(calibration.COUNTS, 0)
    for image, value in zip(images, temperatures, strict=True):
        scaled = image.probabilities if value == 1 else apply_temperature(image.probabilities, value, activation)
        count = calibration.counts(scaled, image.example["mask"], activation)
        totals = {name: total + count[name] for name, total in totals.items()}
    return {name: float(value) for name, value in calibration.scores(totals).items()}


def summary_of(group: Any, images: Sequence[Predicted], activation: str) -> dict[str, float]:
    """Returns the scores of a group of `evaluation.groups` of all images."""
    import numpy as np

    from unet_jax.segmentation import to_masks

    counts = [group.count(image.example, to_masks(image.probabilities, activation)[0], None) for image in images]
    return group.summarize({name: np.stack([count[name] for count in counts]) for name in group.shapes()})


def spread(values: Sequence[float], digits: int) -> str:
    """Returns the mean over the runs ± the standard deviation of a sample."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def calibration_row(title: str, scored: Sequence[Scored]) -> list[str]:
    """Returns a row of the table of calibration: the temperatures, and each score before and after."""
    found = [value for run in scored for value in run.temperatures]
    cells = [title, f"{min(found):.2f} to {max(found):.2f}"]
    for name in CALIBRATION:
        cells += [spread([getattr(run, when)[name] for run in scored], 4) for when in ("before", "after")]
    falls = sum(run.after["ece"] < run.before["ece"] for run in scored)
    return [*cells, f"{falls} of {len(scored)}"]


def class_rows(title: str, of_runs: Sequence[Mapping[str, float]], names: Sequence[str], kind: str) -> list[list[str]]:
    """Returns a row for each class that has scores: its name, and the scores.

    Args:
      title: the first cell.
      of_runs: a summary of each run.
      names: of the scores.
      kind: "pooled" or "image".
    """
    start = f"{names[0]}_{kind}/"
    classes = [key.removeprefix(start) for key in of_runs[0] if key.startswith(start) and key != f"{start}mean"]
    return [
        [
            title,
            name,
            *(spread([run[f"{score}_{kind}/{name}"] for run in of_runs], 3) for score in names),
        ]
        for name in classes
    ]


CALIBRATION_TITLES = (
    "data, split, images",
    "temperature",
    *(f"{name} {when}" for name in ("ECE", "Brier", "NLL") for when in ("before", "after")),
    "ECE falls",
)
OBJECT_TITLES = ("data, split, images", "class", "AP50", "AP75", "F1", "PQ", "SEG", "AJI")
CONTOUR_TITLES = ("data, split, images", "class", "boundary IoU", "NSD at 2 px", "HD95, px", "ASSD, px")


def run_all(folders: Mapping[str, Sequence[Path]]) -> Iterator[tuple[str, str]]:
    """Scores the data sets; yields each table as Markdown, with the name of its place in the page.

    Args:
      folders: the folders of the runs, by data set.
    """
    calibrated: list[list[str]] = []
    objects: list[list[str]] = []
    contours: list[list[str]] = []
    for data, of_data in folders.items():
        dataset = members.open_data(of_data)
        split, scored = scored_split(dataset), []
        for folder in of_data:
            print(f"scoring {folder.name}", flush=True)
            scored.append(score(folder, dataset, data))
        title = f"`{data}`, {split}, {len(dataset.source(split))}"
        calibrated.append(calibration_row(title, scored))
        if data in OF_OBJECTS:
            objects += class_rows(title, [run.objects for run in scored], OBJECTS, "pooled")
        if data in OF_CONTOURS:
            contours += class_rows(title, [run.contours for run in scored], CONTOURS, "image")
    yield "calibration", tables.table(CALIBRATION_TITLES, calibrated)
    yield "objects", tables.table(OBJECT_TITLES, objects)
    yield "contours", tables.table(CONTOUR_TITLES, contours)
