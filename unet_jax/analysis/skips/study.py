"""Studies runs: opens them, checks that they can be compared, and examines one after the other on the same images."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from etils.epath import Path
from tqdm import tqdm

from unet_jax.analysis.skips import graph as graphs
from unet_jax.analysis.skips import report
from unet_jax.analysis.skips.localise import OF, localise
from unet_jax.analysis.skips.similarity import compare_maps
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
    """A run with the graph of its network."""

    workdir: Path
    run: Run
    graph: graphs.Graph


def study(
    workdirs: Sequence,
    *,
    split: str = "val",
    mean: str = "set",
    boundary_distance: float = boundary.BOUNDARY_DISTANCE,
    similarity: bool = False,
    checkpoint: str = "best",
    mode: str = "",
    out="",
    root: str = "",
) -> Study:
    """Replaces every node and skip of each run, or compares the maps they join, prints tables and writes `out`.

    Args:
      workdirs: of the runs, all of the same data.
      split: train, val or test.
      mean: "set", "image" or "both", of which a map is replaced by.
      boundary_distance: of boundary IoU, in image diagonals.
      similarity: compare the maps that are joined, and replace nothing.
      checkpoint: "best", "latest" or a step.
      mode: "accurate" or "fast"; "" for each run's `eval.mode`.
      out: folder to write into; "" for skips in the first workdir.
      root: the data set's folder, if it is not where the configs say.

    Raises:
      UserError: a run that is not there or has no skip connections, runs of different data or classes, a split without
        images, or a distance that is none; before anything is scored.
    """
    if not 0 < boundary_distance <= 1:
        raise UserError(
            f"--boundary_distance={boundary_distance:g}: give image diagonals, above 0 and at most 1, such as 0.02"
        )
    means = tuple(OF) if mean == "both" else (mean,)
    opened = [_open(workdir, checkpoint, mode, similarity) for workdir in _distinct(workdirs)]
    source = _source(opened, split, root)
    classes = tuple(opened[0].run.predictor.report_classes)
    out = folder.resolve(out or opened[0].workdir / "skips")
    # Fails here, before anything is scored, where it cannot be written.
    with report_write_errors():
        out.mkdir(parents=True, exist_ok=True)
    what = "maps compared" if similarity else f"boundary IoU within {100 * boundary_distance:g} % of the diagonal"
    print(f"{len(source)} images of {split}, {len(opened)} run(s), {what}", flush=True)
    results = []
    for name, one in zip(_names(opened), opened, strict=True):
        predictor, batch_size = one.run.predictor, one.run.config.eval.batch_size
        scores, pairs = [], []
        with tqdm(desc=name, unit="image" if similarity else "score", disable=None) as bar:

            def progress(done, number, bar=bar):
                bar.total = number
                bar.update(done - bar.n)

            options = {"batch_size": batch_size, "progress": progress}
            if similarity:
                pairs = compare_maps(predictor, one.graph, source, **options)
            else:
                scores = localise(
                    predictor, one.graph, source, means=means, boundary_distance=boundary_distance, **options
                )
        network = type(predictor.module).__name__
        result = RunResult(name, str(one.workdir), network, one.run.step, predictor.mode, one.graph, scores, pairs)
        results.append(result)
        print(f"\n{report.text(result, classes)}", flush=True)
    found = Study(split, len(source), boundary_distance, classes, results, folder.versions())
    for path in report.write(found, out):
        print(f"written: {path}")
    return found


def _distinct(workdirs: Sequence) -> list[Path]:
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
            f"--workdir={workdir}: its {type(predictor.module).__name__} has no skip connections; leave it out"
        )
    if similarity and not graph.joins:
        kind = type(predictor.module).__name__
        raise UserError(f"--workdir={workdir}: its {kind} adds scores and concatenates no maps; leave it out")
    return Opened(workdir, run, graph)


def _source(opened: Sequence[Opened], split: str, root: str) -> InMemory:
    """Returns the first run's split, decoded once; UserError unless all have the same images, masks and reported classes."""
    first, images = None, None
    for one in opened:
        source = score.open_dataset(one.run, one.workdir, root).source(split)
        source = InMemory(source, one.run.config.data.cache_bytes)
        if not len(source):
            raise UserError(f"--split={split}: {one.workdir} has no image in it; take another split")
        facts = one.run.predictor.class_names, one.run.predictor.report_classes, _digest(source)
        if first is None:
            first, images = facts, source
        for what, ours, theirs in zip(("classes", "reported classes", "images and masks"), first, facts, strict=True):
            if ours != theirs:
                values = "" if isinstance(ours, str) else f" ({', '.join(ours)}; {', '.join(theirs)})"
                raise UserError(
                    f"--workdir={opened[0].workdir} and --workdir={one.workdir} differ in the {what} of {split}{values}; their "
                    "scores cannot be compared, so study them one by one"
                )
    return images


def _digest(source) -> str:
    """Hashes all images and masks, in order."""
    state = hashlib.sha256()
    for index in range(len(source)):
        example = source[index]
        for array in (np.ascontiguousarray(example["image"]), np.ascontiguousarray(example["mask"])):
            state.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return state.hexdigest()


def _names(opened: Sequence[Opened]) -> list[str]:
    """Returns the names of the runs' folders; their whole paths where two names are the same."""
    short = [one.workdir.name for one in opened]
    return short if len(set(short)) == len(short) else [str(one.workdir) for one in opened]
