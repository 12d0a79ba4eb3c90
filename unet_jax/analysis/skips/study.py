"""Studies the skip connections of runs: opens them, checks that they can be compared, and scores or compares maps."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence

import numpy as np
from etils.epath import Path
from tqdm import tqdm

from unet_jax.analysis.skips import graph as graphs
from unet_jax.analysis.skips import report
from unet_jax.analysis.skips.localise import MEANS, Score, localise
from unet_jax.analysis.skips.similarity import Pair, compare_maps
from unet_jax.analysis.skips.study_result import RunResult, Study
from unet_jax.data.store.sources import InMemory
from unet_jax.errors import UserError
from unet_jax.evaluation import boundary
from unet_jax.runs import score
from unet_jax.runs import workdir as folder
from unet_jax.runs.load import Run, open_run
from unet_jax.storage.write_errors import report_write_errors


@dataclasses.dataclass
class Opened:
    """Holds a run and the graph of its network.

    Attributes:
      workdir: folder of the run.
      run: the run.
      graph: the graph of its network.
    """

    workdir: Path
    run: Run
    graph: graphs.Graph


def study(
    workdirs: Sequence[str | os.PathLike],
    *,
    split: str = "val",
    mean: str = "set",
    boundary_distance: float = boundary.BOUNDARY_DISTANCE,
    similarity: bool = False,
    checkpoint: str = "best",
    mode: str = "",
    out: str | os.PathLike = "",
    root: str = "",
) -> Study:
    """Scores each run with every node and skip replaced, or compares the maps they join; prints tables, writes files.

    Args:
      workdirs: folders of runs on the same data.
      split: "train", "val" or "test".
      mean: "set", "image" or "both": the mean that replaces a map.
      boundary_distance: distance of boundary IoU from the contour, in image diagonals.
      similarity: compares the maps that are joined, and replaces nothing.
      checkpoint: "best", "latest" or a step.
      mode: "accurate" or "fast"; "" for each run's `eval.mode`.
      out: folder to write into; "" for the folder `skips` in the first workdir.
      root: folder of the data set; "" if it is where the configs say.

    Returns:
      The results of all runs.

    Raises:
      UserError: a run cannot be opened or has no skip connections, the runs differ in data or classes, the split has no
        images, or the distance is wrong. All of this is found before anything is scored.
    """
    if not 0 < boundary_distance <= 1:
        raise UserError(
            f"--boundary_distance={boundary_distance:g}: give a fraction of the image diagonal, above 0 and at most 1, "
            "such as 0.02"
        )
    means = tuple(MEANS) if mean == "both" else (mean,)
    opened = [_open(workdir, checkpoint, mode, similarity) for workdir in _distinct(workdirs)]
    source = _source(opened, split, root)
    classes = tuple(opened[0].run.predictor.report_classes)
    place = folder.resolve(out or opened[0].workdir / "skips")
    # So that an error in writing comes before anything is scored.
    with report_write_errors():
        place.mkdir(parents=True, exist_ok=True)
    method = "maps compared" if similarity else f"boundary IoU within {100 * boundary_distance:g} % of the diagonal"
    print(f"{len(source)} images of {split}, {len(opened)} run(s), {method}", flush=True)
    results = []
    for name, one in zip(_names(opened), opened, strict=True):
        predictor, batch_size = one.run.predictor, one.run.config.eval.batch_size
        scores: list[Score] = []
        pairs: list[Pair] = []
        with tqdm(desc=name, unit="image" if similarity else "score", disable=None) as bar:

            def progress(done, number, bar=bar):
                bar.total = number
                bar.update(done - bar.n)

            if similarity:
                pairs = compare_maps(predictor, one.graph, source, batch_size=batch_size, progress=progress)
            else:
                scores = localise(
                    predictor,
                    one.graph,
                    source,
                    means=means,
                    boundary_distance=boundary_distance,
                    batch_size=batch_size,
                    progress=progress,
                )
        network = type(predictor.module).__name__
        result = RunResult(name, str(one.workdir), network, one.run.step, predictor.mode, one.graph, scores, pairs)
        results.append(result)
        print(f"\n{report.text(result, classes)}", flush=True)
    whole = Study(split, len(source), boundary_distance, classes, results, folder.versions())
    for path in report.write(whole, place):
        print(f"written: {path}")
    return whole


def _distinct(workdirs: Sequence[str | os.PathLike]) -> list[Path]:
    """Returns the absolute folders; UserError if one is given twice."""
    paths = [folder.resolve(workdir) for workdir in workdirs]
    for k, path in enumerate(paths):
        if path in paths[:k]:
            raise UserError(f"--workdir={path} is given twice; give each run once")
    return paths


def _open(workdir: Path, checkpoint: str, mode: str, similarity: bool) -> Opened:
    run = open_run(workdir, checkpoint=checkpoint, mode=mode)
    predictor = run.predictor
    graph = graphs.find(predictor.network, predictor.variables, predictor.channels)
    if not graph.skips:
        raise UserError(
            f"--workdir={workdir}: the network {type(predictor.module).__name__} has no skip connections; leave it out"
        )
    if similarity and not graph.joins:
        kind = type(predictor.module).__name__
        raise UserError(f"--workdir={workdir}: the network {kind} adds scores and concatenates no maps; leave it out")
    return Opened(workdir, run, graph)


def _source(opened: Sequence[Opened], split: str, root: str) -> InMemory:
    """Returns the first run's split, decoded once.

    Raises UserError unless all runs have the same images, masks and reported classes.
    """
    first = opened[0]
    images = _open_split(first, split, root)
    expected = _facts(first, images)
    for one in opened[1:]:
        facts = _facts(one, _open_split(one, split, root))
        for kind, ours, theirs in zip(
            ("classes", "reported classes", "images and masks"), expected, facts, strict=True
        ):
            if ours != theirs:
                values = "" if isinstance(ours, str) else f" ({', '.join(ours)}; {', '.join(theirs)})"
                raise UserError(
                    f"--workdir={first.workdir} and --workdir={one.workdir} differ in the {kind} of {split}{values}, so "
                    "their scores cannot be compared; study them one by one"
                )
    return images


def _open_split(one: Opened, split: str, root: str) -> InMemory:
    dataset = score.open_dataset(one.run, one.workdir, root)
    source = InMemory(dataset.source(split), one.run.config.data.cache_bytes)
    if not len(source):
        raise UserError(f"--split={split}: {one.workdir} has no image in it; choose another split")
    return source


def _facts(one: Opened, source: InMemory) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Returns the classes, the reported classes, and a hash of all images and masks."""
    predictor = one.run.predictor
    return predictor.class_names, predictor.report_classes, _digest(source)


def _digest(source) -> str:
    """Returns a hash of all images and masks, in order."""
    state = hashlib.sha256()
    for index in range(len(source)):
        example = source[index]
        for array in (np.ascontiguousarray(example["image"]), np.ascontiguousarray(example["mask"])):
            state.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return state.hexdigest()


def _names(opened: Sequence[Opened]) -> list[str]:
    """Returns the names of the runs' folders, or whole paths if two names are the same."""
    short = [one.workdir.name for one in opened]
    return short if len(set(short)) == len(short) else [str(one.workdir) for one in opened]
