"""Compares runs: opens, groups and scores them, estimates every group, and tests every two groups."""

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from unet_jax.analysis.compare import estimate, power, report, runs, scores
from unet_jax.analysis.compare.runs import Group, Run
from unet_jax.errors import UserError
from unet_jax.evaluation import intervals, jackknife
from unet_jax.experiment.build import create_module
from unet_jax.runs import workdir as folder
from unet_jax.storage import paths
from unet_jax.training.state import count_parameters

METRICS = ("iou", "dice")


def compare(
    workdirs: Sequence[str | os.PathLike],
    *,
    splits: Sequence[str] = (),
    metric: str = "iou",
    out: str | os.PathLike = "",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Compares runs, prints the tables, and writes them with pictures into `out`.

    Args:
      workdirs: folders of runs on the same data, each with a checkpoint.
      splits: splits to compare on; () for test, or val where there is no test.
      metric: "iou" or "dice".
      out: folder to write into; "" writes nothing.
      overwrite: replaces scores in a run's folder that belong to another checkpoint, or lack pixel counts.

    Returns:
      The content of `compare.json`.

    Raises:
      UserError: the metric is unknown, or the runs, their splits or their scores cannot be compared; see
        `runs.open_runs`, `scores.choose_splits` and `scores.of_runs`.
    """
    if metric not in METRICS:
        raise UserError(f"metric {metric!r} is unknown; known: {', '.join(METRICS)}")
    folder_out = paths.expand(out, "--out") if out else None
    opened = runs.open_runs(workdirs)
    splits = scores.choose_splits(opened, splits)
    scored = scores.of_runs(opened, splits, overwrite=overwrite)
    groups = runs.groups(opened)
    counts = {
        (group.name, split): [scored[run.workdir, split].counts for run in group.runs]
        for group in groups
        for split in splits
    }
    # Of the images; all runs of a group have the same ones.
    units = {(group.name, split): scored[group.runs[0].workdir, split].groups for group in groups for split in splits}
    values = {key: jackknife.leave_one_out(of_seeds, metric, units[key]) for key, of_seeds in counts.items()}
    result = {
        "metric": metric,
        "splits": list(splits),
        "num_images": {split: sorted({len(scored[run.workdir, split].ids) for run in opened}) for split in splits},
        "num_groups": {split: sorted({scored[run.workdir, split].num_groups for run in opened}) for split in splits},
        "report_classes": sorted(opened[0].report_classes),
        "fingerprint": opened[0].facts["fingerprint"],
        "interval": intervals.METHOD,
        "permutations": estimate.PERMUTATIONS,
        "groups": [_group(group, splits, values) for group in groups],
        "differences": runs.differences([group.runs[0].keys for group in groups]),
        "networks": {name: [group.name for group in same] for name, same in runs.networks(groups).items()},
        "pairs": [pair for split in splits for pair in _pairs(groups, split, metric, counts, units, values)],
        "power": {split: _power(groups, split, values) for split in splits if split != "train" and len(groups) > 1},
        "versions": folder.versions(),
    }
    print(report.text(result))
    if folder_out is not None:
        written = report.write(result, folder_out)
        print(f"\nwritten: {', '.join(map(str, written))}")
    return result


def _group(group: Group, splits: Sequence[str], values: Mapping) -> dict[str, Any]:
    """Returns the facts and estimates of one group; `gap` is train - val where both are scored, else None."""
    first = group.runs[0]
    gap = None
    if {"train", "val"} <= set(splits):
        train, val = (values[group.name, split] for split in ("train", "val"))
        gap = {kind: estimate.gap(train[kind], val[kind])._asdict() for kind in jackknife.KINDS}
    return {
        "name": group.name,
        "seeds": list(group.seeds),
        "workdirs": [str(run.workdir) for run in group.runs],
        "steps": [run.step for run in group.runs],
        "parameters": _parameters(first),
        "train_fraction": first.train_fraction,
        "num_train": first.facts["splits"]["train"],
        "scores": {
            split: {kind: estimate.estimate(scores)._asdict() for kind, scores in values[group.name, split].items()}
            for split in splits
        },
        "gap": gap,
    }


def _parameters(run: Run) -> int:
    module = create_module(run.config, run.facts["class_names"], run.facts["overlapping"])
    images = jax.ShapeDtypeStruct((1, *run.config.data.patch, run.facts["channels"]), "float32")
    return count_parameters(jax.eval_shape(module.init, jax.random.key(0), images)["params"])


def _pairs(
    groups: Sequence[Group], split: str, metric: str, counts: Mapping, units: Mapping, values: Mapping
) -> list[dict]:
    """Compares every two groups that were scored on the same images of the split: the second minus the first."""
    pairs: list[dict[str, Any]] = []
    for first, second in itertools.combinations(groups, 2):
        if split == "train" and first.runs[0].train_fraction != second.runs[0].train_fraction:
            # They were trained on other images.
            continue
        same = first.seeds == second.seeds
        keys = [(group.name, split) for group in (first, second)]
        images = [estimate.per_image(counts[key], metric) for key in keys]
        pair: dict[str, Any] = {"split": split, "first": first.name, "second": second.name, "same_seeds": same}
        for kind in jackknife.KINDS:
            figures = estimate.difference(*(values[key][kind] for key in keys), same_seeds=same)
            pair[kind] = dict(zip(("difference", "low", "high"), figures, strict=True))
        pairs.append(pair | {"p": estimate.p_value(images[0], images[1], units[keys[0]])})
    corrected = estimate.holm([pair["p"] for pair in pairs])
    return [pair | {"p_holm": p} for pair, p in zip(pairs, corrected, strict=True)]


def _power(groups: Sequence[Group], split: str, values: Mapping) -> dict[str, Any] | None:
    """Returns how many seeds and images, or groups of images, tell `power.DIFFERENCE` of the score per image.

    None where no pair has a spread.
    """
    found = []
    for first, second in itertools.combinations(groups, 2):
        scores = [values[group.name, split]["image"] for group in (first, second)]
        spread = estimate.spread_of_difference(*scores, same_seeds=first.seeds == second.seeds)
        if spread is None:
            continue
        if min(len(first.seeds), len(second.seeds)) == 1:
            # The spread of the seeds of one of them is unknown.
            spread = spread._replace(seeds=(), rest=())
        found.append(power.variances(spread))
    return {"difference": power.DIFFERENCE, **power.needed(found)._asdict()} if found else None
