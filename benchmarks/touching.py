"""Which way finds touching objects best: components, a watershed, or a network trained on borders; on val, with intervals.

    python benchmarks/touching.py --plain=RUN0 --plain=RUN1 --borders=RUN0 --borders=RUN1

Each RUN is the folder of a run; those of one kind differ in the seed alone. Runs of both kinds have the same data and number of steps.
The runs of --borders have `data.targets` "borders"; "joined" takes their interiors and borders as one mask, as if nothing were between
the objects. Prints two tables as Markdown: the mean over images of each score, the mean over seeds, and its difference to the components
of the plain networks, with 95 % intervals (t on the logit scale; units: groups of images such as fields of view). `touching` is the
recall, at an IoU of 0.5, of the true objects that touch another one.

The depths of the watersheds are the defaults of `unet-jax measure`.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from etils import epath

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import tables
from unet_jax.analysis.compare.estimate import difference, estimate
from unet_jax.data.dataset import ExampleSource
from unet_jax.data.store.borders import border_pixels
from unet_jax.errors import UserError
from unet_jax.evaluation import border_objects, instances
from unet_jax.evaluation.jackknife import LeftOut, of_images
from unet_jax.measurement.objects import ObjectFinder, Options
from unet_jax.runs.load import Run, open_run
from unet_jax.runs.score import open_dataset
from unet_jax.runtime import cli
from unet_jax.segmentation import VOID_ID, to_masks

SPLIT = "val"
# Pixels of two objects that share an edge or a corner are at most this far from each other.
TOUCHING = 1.5
SCORES = ("ap50", "ap75", "f1", "pq", "aji", "touching")
TITLES = ("objects", "AP at 0.5", "AP at 0.75", "F1", "PQ", "AJI", "touching found")

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string("plain", [], "Folder of a run of plain masks; one for each seed.", FLAGS)
flags.DEFINE_multi_string("borders", [], "Folder of a run with data.targets=borders; one for each seed.", FLAGS)


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to find objects.

    Attributes:
      name: its name in the table.
      options: how masks become objects.
      borders: True for the networks with borders.
      joined: True takes interiors and borders as one mask.
    """

    name: str
    options: Options
    borders: bool = False
    joined: bool = False


# The first one is what the others are compared with.
WAYS = (
    Way("components", Options()),
    Way("watershed on the distance", Options(split="distance")),
    Way("watershed on the probability", Options(split="probability")),
    Way("borders, joined", Options(), borders=True, joined=True),
    Way("borders, joined, watershed on the distance", Options(split="distance"), borders=True, joined=True),
    Way("borders", Options(), borders=True),
    Way("borders, watershed on the distance", Options(split="distance"), borders=True),
)


def find(run: Run, probabilities: np.ndarray, way: Way) -> np.ndarray:
    """Returns the numbers of the objects of the class 1, `[H, W]`.

    Args:
      run: the network.
      probabilities: of all its classes, `[H, W, K]`.
      way: how the objects are found.
    """
    masks, _ = to_masks(probabilities, run.predictor.activation)
    channel = min(1, masks.shape[-1] - 1)
    inside, ground = masks[..., channel], None
    if way.borders:
        ground = border_objects.ground(masks)
        inside = ground if way.joined else border_objects.interiors(masks)
    width = 0.0 if way.joined else run.border_width
    finder = ObjectFinder(masks.shape[:2], 1, way.options, border_width=width)
    finder.add(0, inside[..., None], probabilities[..., channel, None], ground)
    return finder.finish()[0].read(0, len(masks))


def score(true: np.ndarray, found: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Returns `SCORES` of an image; NaN where one cannot be scored."""
    scored = instances.by_name(instances.scores(instances.counts(true, found, valid)))
    touching = np.unique(true[border_pixels(true, TOUCHING)])
    matched = instances.matches(instances.overlaps(true, found, valid), 0.5)[0]
    scored["touching"] = np.isin(touching, matched).mean() if len(touching) else np.float64(np.nan)
    return {name: float(scored[name]) for name in SCORES}


def measure(folders: Sequence[str], source: ExampleSource, ways: Sequence[Way]) -> dict[str, dict[str, np.ndarray]]:
    """Returns, by way and score, the values of each run and image, `[S, N]`.

    Raises:
      UserError: a run has other targets than the ways.
    """
    values: dict[str, dict[str, list]] = {way.name: {name: [] for name in SCORES} for way in ways}
    for folder in folders:
        run = open_run(folder)
        if bool(run.border_width) != ways[0].borders:
            raise UserError(f"{folder}: has data.targets={run.config.data.targets!r}; give it to the other flag")
        print(f"{folder}: step {run.step}", file=sys.stderr, flush=True)
        of_run: dict[str, list] = {way.name: [] for way in ways}
        for index in range(len(source)):
            example = source[index]
            (probabilities,) = run.predictor.predict_images([example["image"]])
            for way in ways:
                found = find(run, probabilities, way)
                of_run[way.name].append(score(example["instances"], found, example["mask"] != VOID_ID))
        for way in ways:
            for name in SCORES:
                values[way.name][name].append([row[name] for row in of_run[way.name]])
    return {way: {name: np.array(of_way[name]) for name in SCORES} for way, of_way in values.items()}


def mean_cell(scores: LeftOut) -> str:
    """Returns the mean over the runs, with its interval."""
    found = estimate(scores)
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def gain_cell(scores: LeftOut, base: LeftOut, same_seeds: bool) -> str:
    """Returns the difference to `base`, with its interval."""
    gain, low, high = difference(base, scores, same_seeds=same_seeds)
    return f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> None:
    """Scores the runs, and prints the tables.

    Raises:
      UserError: no run of a kind is given, or as `measure`.
    """
    if not FLAGS.plain or not FLAGS.borders:
        raise UserError("--plain and --borders are both needed; give the folders of runs")
    # The instances of both kinds of runs are the same.
    source = open_dataset(open_run(FLAGS.plain[0]), epath.Path(FLAGS.plain[0])).source(SPLIT)
    groups = [str(source[index]["group"]) for index in range(len(source))]
    values: dict[str, dict[str, np.ndarray]] = {}
    for folders, borders in ((FLAGS.plain, False), (FLAGS.borders, True)):
        values |= measure(folders, source, [way for way in WAYS if way.borders == borders])
    scores = {way: {name: of_images(values[way.name][name], groups) for name in SCORES} for way in WAYS}
    base = scores[WAYS[0]]
    means = [[way.name, *(mean_cell(of_way[name]) for name in SCORES)] for way, of_way in scores.items()]
    gains = [
        [way.name, *(gain_cell(of_way[name], base[name], same_seeds=not way.borders) for name in SCORES)]
        for way, of_way in scores.items()
        if way is not WAYS[0]
    ]
    print(f"{tables.table(TITLES, means)}\n\nDifference to {WAYS[0].name}:\n\n{tables.table(TITLES, gains)}")


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
