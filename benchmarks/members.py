"""What several heads, views and networks gain, what they cost, and whether their uncertainty finds the failures.

    python benchmarks/evidence.py --members

predicts val with the U-Net++ of three seeds of each data set, whose runs are done, and writes the tables into
docs/explanation/results.md. Times are taken in turns, so nothing else should compute meanwhile.
"""

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import rows, tables
from unet_jax.errors import UserError

if TYPE_CHECKING:
    from unet_jax.data.dataset import Dataset
    from unet_jax.inference.segmenter import Segmenter
    from unet_jax.runs.load import Opened

SPLIT = "val"
DATA = ("electrodes", "battery_xray", "nuclei")
# Of the runs: the networks of one data set differ in the seed alone.
VARIANT, MINUTES = "unet_pp", 5
# The price is measured on the first images of the split.
TIMED_IMAGES, ROUNDS = 16, 5
LOOKED_AT = 0.2


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to predict.

    Args:
      name: its name in the tables.
      mode: "fast" for the deepest head alone, "accurate" for the mean of the heads.
      views: see `unet_jax.inference.views`.
      together: True for the mean of all networks, False for each of them.
    """

    name: str
    mode: str
    views: str = ""
    together: bool = False

    def open(self, folders: Sequence[Path]) -> "list[Opened]":
        """Opens the networks: one segmenter for each folder, or one for all.

        Raises:
          UserError: they were not trained on the views.
        """
        from unet_jax.runs.load import open_models

        groups = [folders] if self.together else [[folder] for folder in folders]
        return [open_models(group, mode=self.mode, views=self.views) for group in groups]


# The first one is what the others are compared with.
WAYS = (
    Way("one head", "fast"),
    Way("mean of the heads", "accurate"),
    Way("flips", "fast", "flips"),
    Way("flips and turns", "fast", "all"),
    Way("three networks", "fast", together=True),
    Way("three networks, heads and flips", "accurate", "flips", together=True),
)
UNCERTAIN_WAYS = (
    Way("heads", "accurate"),
    Way("heads and flips", "accurate", "flips"),
    Way("heads of three networks", "accurate", together=True),
)


def rows_of(data: str) -> list[rows.Row]:
    """Returns the rows of a data set that are measured, one for each seed."""
    return [row for row in rows.ROWS if (row.data, row.variant, row.minutes) == (data, VARIANT, MINUTES)]


def folders_of(chosen: Sequence[rows.Row], results: tables.Results, workdir: Path) -> list[Path]:
    """Returns the folders of the runs of rows; [] if not all are done and there."""
    names = [row.name for row in chosen]
    there = all(results.done(name) and (workdir / name).is_dir() for name in names)
    return [workdir / name for name in names] if there else []


def open_data(folders: Sequence[Path]) -> "Dataset":
    """Returns the data set of runs that have the same one."""
    from etils import epath

    from unet_jax.runs.load import open_run
    from unet_jax.runs.score import open_dataset

    return open_dataset(open_run(folders[0]), epath.Path(folders[0]))


def groups_of(examples: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the group of each image, such as its field of view; the images of a group are alike."""
    return [str(example["group"]) for example in examples]


def images_of(data: str, examples: Sequence[Mapping[str, Any]]) -> str:
    """Returns the first cell of a row: the data set, and what its intervals are over."""
    num_groups = len(set(groups_of(examples)))
    in_groups = "" if num_groups == len(examples) else f" in {num_groups} groups"
    return f"`{data}`, {len(examples)}{in_groups}"


def opened_ways(ways: Sequence[Way], folders: Sequence[Path], data: str) -> "Iterator[tuple[Way, list[Opened], int]]":
    """Yields each way that the networks were trained for, the opened networks, and the batch size of an evaluation."""
    for way in ways:
        try:
            opened = way.open(folders)
        except UserError as error:
            if not way.views:
                raise
            print(f"{data}: {way.name} is left out: {error}")
            continue
        print(f"{data}: {way.name}", flush=True)
        yield way, opened, opened[0].runs[0].config.eval.batch_size


def relative_times(
    segmenters: "Mapping[str, Segmenter]", base: str, examples: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Returns the time that each segmenter takes for the first images, divided by that of `base`: the median over the turns."""
    import numpy as np

    from unet_jax.runtime.program_cost import in_turns

    images = [np.asarray(example["image"]) for example in examples[:TIMED_IMAGES]]
    seconds = in_turns(
        {
            name: lambda _, segmenter=segmenter: [segmenter.predict_masks([image]) for image in images]
            for name, segmenter in segmenters.items()
        },
        ROUNDS,
    )
    return {
        name: statistics.median(own / other for own, other in zip(times, seconds[base], strict=True))
        for name, times in seconds.items()
    }


def gains(data: str, folders: Sequence[Path]) -> list[list[str]]:
    """Returns a row of the table of gains for each way: score, gain with its interval, and price in time."""
    from unet_jax.analysis.compare.estimate import difference
    from unet_jax.evaluation import jackknife
    from unet_jax.evaluation.evaluate import evaluate

    source = open_data(folders).source(SPLIT)
    examples = [source[index] for index in range(len(source))]
    scores: dict[str, dict[str, jackknife.LeftOut]] = {}
    timed: dict[str, Segmenter] = {}
    for way, opened, batch_size in opened_ways(WAYS, folders, data):
        segmenters = [each.segmenter for each in opened]
        counts = [
            jackknife.counts(evaluate(segmenter, source, batch_size=batch_size)[1], segmenter.report_classes)
            for segmenter in segmenters
        ]
        scores[way.name] = jackknife.leave_one_out(counts, "iou", groups_of(examples))
        timed[way.name] = segmenters[0]
    base = WAYS[0].name
    times = relative_times(timed, base, examples)
    table = []
    for name, kinds in scores.items():
        cells = [images_of(data, examples), name, *(f"{kinds[kind].mean():.3f}" for kind in ("pooled", "image"))]
        if name == base:
            table.append([*cells, tables.NONE, "1"])
            continue
        alone, other = scores[base]["image"], kinds["image"]
        gain, low, high = difference(alone, other, same_seeds=len(alone.score) == len(other.score))
        table.append([*cells, f"{gain:+.3f} ({low:+.3f} to {high:+.3f})", f"{times[name]:.1f}"])
    return table


def failures(data: str, folders: Sequence[Path]) -> list[list[str]]:
    """Returns a row of the table of uncertainty for each way and measure."""
    from unet_jax.evaluation.evaluate import evaluate
    from unet_jax.evaluation.failures import describe_failures

    source = open_data(folders).source(SPLIT)
    table = []
    for way, opened, batch_size in opened_ways(UNCERTAIN_WAYS, folders, data):
        scored = [
            evaluate(each.segmenter, source, batch_size=batch_size, on_uncertainty=lambda id_, found: None)
            for each in opened
        ]
        described = [describe_failures(of_images)["measures"] for _, of_images in scored]
        all_iou = [float(summary["iou_image/mean"]) for summary, _ in scored]
        for measure in described[0]:
            table.append([f"`{data}`, {len(source)}", way.name, measure, *found_cells(described, measure, all_iou)])
    return table


def found_cells(described: Sequence[Mapping[str, Any]], measure: str, all_iou: Sequence[float]) -> list[str]:
    """Returns the cells of a measure: the means over the networks, and for several networks their standard deviation."""
    looked_at = [
        next(line for line in of_run[measure]["risk_coverage"] if line["looked_at"] == LOOKED_AT)
        for of_run in described
    ]
    correlation = [of_run[measure]["spearman"] for of_run in described]
    spread = f" ± {statistics.stdev(correlation):.2f}" if len(correlation) > 1 else ""
    others = statistics.mean(line["iou_of_the_others"] for line in looked_at)
    return [
        f"{statistics.mean(correlation):.2f}{spread}",
        f"{statistics.mean(line['failures_found'] for line in looked_at):.0%}",
        f"{statistics.mean(all_iou):.3f}",
        f"{others:.3f}",
    ]


GAIN_TITLES = ("data, images", "prediction", "IoU", "per image", "gain per image (95 %, t on the logit scale)", "time")
FAILURE_TITLES = (
    "data, images",
    "members",
    "measure",
    "rank correlation",
    "failures among the least certain 20 %",
    "IoU of all",
    "IoU of the others",
)


def run_all(folders: Mapping[str, Sequence[Path]]) -> Iterator[tuple[str, str]]:
    """Measures the data sets; yields each table as Markdown, with the name of its place in the page.

    Args:
      folders: the folders of the runs, by data set.
    """
    of_gains = [line for data, of_data in folders.items() for line in gains(data, of_data)]
    yield "members", tables.table(GAIN_TITLES, of_gains)
    of_failures = [line for data, of_data in folders.items() for line in failures(data, of_data)]
    yield "uncertainty", tables.table(FAILURE_TITLES, of_failures)
