"""Reads the scores of runs on a split from the files of an evaluation, and makes those that are missing."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from etils.epath import Path
from tqdm import tqdm

from unet_jax import checks
from unet_jax.analysis.compare.runs import Run
from unet_jax.data.dataset import SPLITS
from unet_jax.errors import UserError
from unet_jax.evaluation import jackknife
from unet_jax.runs import score
from unet_jax.runs.load import Opened, open_run
from unet_jax.storage import paths


class Scored(NamedTuple):
    """Holds the counts of a run on a split.

    Attributes:
      ids: ids of the N images, sorted.
      counts: `tp`, `fp`, `fn` `[N, K]` of the reported classes.
      fingerprint: fingerprint of the data that were scored.
      groups: the group of each image, such as its field of view; the id of the image where the data have no groups.
    """

    ids: tuple[str, ...]
    counts: dict[str, np.ndarray]
    fingerprint: str
    groups: tuple[str, ...]

    @property
    def num_groups(self) -> int:
        """The number of groups of images."""
        return len(set(self.groups))


def choose_splits(runs: Sequence[Run], splits: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the splits to compare, each once.

    Args:
      runs: runs on the same data.
      splits: the splits asked for; () for test, or val with a printed note where there is no test.

    Raises:
      UserError: a split is unknown or has no images.
    """
    known = runs[0].facts["splits"]
    if not splits:
        splits = ("test",) if "test" in known else ("val",)
        if splits == ("val",):
            print("there is no test split; comparing on val instead")
    for split in splits:
        if split not in known:
            problem = "has no images" if split in SPLITS else "is unknown"
            raise UserError(f"--splits: {split!r} {problem}; choose from {', '.join(known)}")
    return tuple(dict.fromkeys(splits))


def of_runs(runs: Sequence[Run], splits: Sequence[str], *, overwrite: bool = False) -> dict[tuple[Path, str], Scored]:
    """Returns the scores of every run on every split, by workdir and split.

    Scores are read from `WORKDIR/eval/SPLIT.json`. A missing file is made by scoring the run, as `score_run` does. A printed
    note names a file of scores on other data than the run's.

    Args:
      runs: runs on the same data.
      splits: the splits.
      overwrite: replaces files that cannot be used: those of another checkpoint or mode, or without pixel counts.

    Raises:
      UserError: a file cannot be used (found before anything is scored), or two runs were scored on different images.
    """
    wanted = [(run, split, run.workdir / "eval" / f"{split}.json") for split in splits for run in runs]
    unusable = {path: _unusable(run, split, path) for run, split, path in wanted if path.exists()}
    unusable = {path: problem for path, problem in unusable.items() if problem}
    if unusable and not overwrite:
        path, problem = next(iter(unusable.items()))
        more = f" ({len(unusable) - 1} more files cannot be used)" if len(unusable) > 1 else ""
        raise UserError(f"{path} {problem}{more}; --overwrite scores again and replaces the file")
    missing = [(run, split) for run, split, path in wanted if path in unusable or not path.exists()]
    for place, (run, split) in enumerate(missing, 1):
        _score(run, split, f"scoring {place} of {len(missing)}: {run.workdir.name}, {split}")
    scored = _with_all_groups({(run.workdir, split): _read(run, path) for run, split, path in wanted})
    _check_same_images(runs, scored)
    for run, split, path in wanted:
        if scored[run.workdir, split].fingerprint != run.facts["fingerprint"]:
            print(f"note: {path} holds scores on other data than the run's (their contents or options differ)")
    return scored


def _unusable(run: Run, split: str, path: Path) -> str:
    """Returns the reason problem a file of scores cannot be used; "" if it can."""
    try:
        content = json.loads(paths.read_file(path))
        rows = content["images"]
        ids = [row["id"] for row in rows]
        groups = [row.get("group", "") for row in rows]
        if not all(isinstance(text, str) for text in (*ids, *groups, content["fingerprint"])) or len(set(ids)) < len(
            ids
        ):
            return "is not a file of scores (its ids, its groups or its fingerprint are damaged)"
        expected = {"step": run.step, "mode": run.config.eval.mode, "level": 0}
        expected |= {"weights": run.config.eval.weights} if run.config.optim.ema_decay else {}
        other = [f"{key} {content[key]}, not {value}" for key, value in expected.items() if content[key] != value]
        # A run that was trained anew in this folder has the same steps. Earlier versions have not recorded it.
        if content.get("checkpoint_sha256", run.checkpoint_sha256) != run.checkpoint_sha256:
            other.append("a checkpoint with other contents")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"is not a file of scores ({type(error).__name__}: {error})"
    if other:
        return f"is not of the run's best checkpoint in its eval.mode: {', '.join(other)}"
    if len(rows) != run.facts["splits"].get(split):
        return f"has {len(rows)} images; {split} of the run has {run.facts['splits'].get(split)}"
    counts = [row.get(f"{count}/{name}") for row in rows for count in jackknife.COUNTS for name in run.report_classes]
    # No image has more pixels, so sums of all images stay exact.
    if not all(checks.whole(0, 2**40).contains(count) for count in counts):
        return "has no pixel counts of the run's reported classes"
    return ""


def _score(run: Run, split: str, title: str) -> None:
    opened = open_run(run.workdir, as_started=True)
    dataset = score.open_dataset(opened, run.workdir)
    if dataset.fingerprint != run.facts["fingerprint"]:
        raise UserError(
            f"the data that {run.workdir} was trained on have changed (contents or options differ); restore them, or score "
            f"where they are now: unet-jax eval --workdir={run.workdir} --split={split} --root=FOLDER"
        )
    # A log file needs no line for each batch.
    interval = 0.5 if sys.stderr.isatty() else 10
    total = run.facts["splits"][split]
    with tqdm(total=total, desc=title, unit="image", dynamic_ncols=True, mininterval=interval) as bar:
        score.write_scores(
            Opened((opened,), opened.predictor), dataset, split, run.workdir / "eval", split, progress=bar.update
        )


def _read(run: Run, path: Path) -> Scored:
    content = json.loads(paths.read_file(path))
    rows = sorted(content["images"], key=lambda row: row["id"])
    counts = jackknife.counts(rows, sorted(run.report_classes))
    # An earlier version has not recorded groups.
    groups = tuple(row.get("group", row["id"]) for row in rows)
    return Scored(tuple(row["id"] for row in rows), counts, content["fingerprint"], groups)


def _with_all_groups(scores: Mapping[tuple[Path, str], Scored]) -> dict[tuple[Path, str], Scored]:
    """Gives the groups that some files of a split hold to files of earlier versions, which lack them."""
    known: dict[tuple[str, str, str], str] = {}
    for (_, split), scored in scores.items():
        for id_, group in zip(scored.ids, scored.groups, strict=True):
            if group != id_:
                known[split, scored.fingerprint, id_] = group
    return {
        (workdir, split): scored._replace(
            groups=tuple(known.get((split, scored.fingerprint, id_), id_) for id_ in scored.ids)
        )
        for (workdir, split), scored in scores.items()
    }


def _check_same_images(runs: Sequence[Run], scores: Mapping[tuple[Path, str], Scored]) -> None:
    first: dict[tuple, tuple[Path, Scored]] = {}
    fractions = {run.workdir: run.train_fraction for run in runs}
    for (workdir, split), scored in scores.items():
        images = (split, fractions[workdir] if split == "train" else 1.0)
        at, one = first.setdefault(images, (workdir, scored))
        where = f"{at}/eval/{split}.json and {workdir}/eval/{split}.json"
        if scored.fingerprint != one.fingerprint:
            raise UserError(
                f"{where} are scores on different data (fingerprints {one.fingerprint[:12]}, {scored.fingerprint[:12]}); "
                "score both on the same data with unet-jax eval"
            )
        if scored.ids != one.ids:
            alone = sorted(set(scored.ids) ^ set(one.ids))
            raise UserError(
                f"{where} are scores of different images ({len(alone)} ids are in only one, such as {alone[0]!r}); "
                "score both on the same images with unet-jax eval"
            )
