"""Checks that a killed and resumed run gives the same bits as an uninterrupted one.

WORKDIR/verify_resume/config.py     the shortened config of both runs
WORKDIR/verify_resume/undisturbed/  workdir of the uninterrupted run; undisturbed.log has its output
WORKDIR/verify_resume/killed/       workdir of the killed run; killed.log has the output of all its starts
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from unet_jax.analysis.verify_resume import kills
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.experiment import durations
from unet_jax.runs.records import read_versions
from unet_jax.runs.same_bits import changes
from unet_jax.storage import paths
from unet_jax.storage.write_errors import report_write_errors
from unet_jax.tracking.metrics_file import read_metrics

# Columns of metrics.jsonl about the process that wrote the row, such as its times; they may differ.
PROCESS = ("step_s", "images_per_s", "data_wait", "matmul_utilization", "seconds", "num_compiles")


def verify_resume(
    config: ConfigDict,
    workdir: str | os.PathLike,
    *,
    command: Sequence[str],
    num_steps: int = 12,
    num_kills: int = 3,
    report: Callable[[str], None] = print,
) -> bool:
    """Trains the config's first steps twice, the second time with SIGKILLs, and compares the results.

    The devices are left to the child processes; this process uses none before they end.

    Args:
      config: config of the runs.
      workdir: local folder that gets the folder `verify_resume`; its other files are not touched.
      command: command of a program that trains, without `--config` and `--workdir`.
      num_steps: steps of both runs; see `shorten`.
      num_kills: kills of the second run, at moments that follow from the config's seed; a third, rounded up, in a save.
      report: called with each line of the report.

    Returns:
      True if every leaf of the last checkpoint and every row of metrics.jsonl are the same.

    Raises:
      UserError: the folder exists already, a run failed, or it was too short for so many kills.
    """
    place = Path(paths.resolve_local(workdir, "--workdir")) / "verify_resume"
    if place.exists():
        raise UserError(f"{place} exists already, from an earlier check; remove it, or give another --workdir")
    config, changed = shorten(config, num_steps)
    with report_write_errors():
        place.mkdir(parents=True)
        (place / "config.py").write_text(_as_file(config))
    report("shortened: " + ", ".join(f"{key}={value!r}" for key, value in changed.items()))

    def training(name: str) -> tuple[list[str], Path]:
        """Returns the command of one run, and its log."""
        return [*command, f"--config={place / 'config.py'}", f"--workdir={place / name}"], place / f"{name}.log"

    with kills.Child(*training("undisturbed")) as child:
        child.finish()
    report(f"undisturbed: trained into {place / 'undisturbed'}")
    moments = kills.draw_moments(num_kills, num_steps, config.seed)
    again, log = training("killed")
    done = kills.run_killed(again, place / "killed", log, moments, seed=config.seed, report=report)
    differences, compared = compare(place / "undisturbed", place / "killed")
    in_saves = sum(bool(kill.save) for kill in done)
    conditions, changed_conditions = same_conditions(place / "undisturbed", place / "killed")
    report(f"condition: {conditions}")
    for line in changed_conditions:
        report(f"the starts differ: {line}")
    for line in differences:
        report(f"different: {line}")
    if not differences:
        report(f"equal: {compared}, after {len(done)} kills, {in_saves} of them in a save")
    return not differences


def same_conditions(one: Path, other: Path) -> tuple[str, list[str]]:
    """Compares what the starts of two runs have recorded of their devices, processor, packages and settings.

    Bits are the same only where these are the same. The number of cores may change while the runs last.

    Args:
      one: workdir of the uninterrupted run.
      other: workdir of the killed run.

    Returns:
      The condition under which the runs were compared, and a line for each difference between two starts.
    """
    starts = [start for place in (one, other) for start in read_versions(paths.absolute(place))["starts"]]
    first, differing = starts[0], dict.fromkeys(line for start in starts[1:] for line in changes(starts[0], start))
    on_cpu = first["device_kind"] == "cpu"
    cores = f", {first['cpu']['threads']} CPU cores ({first['cpu']['model']})" if on_cpu else ""
    return f"the same {first['device_count']} device(s) {first['device_kind']}{cores} and packages", list(differing)


def shorten(config: ConfigDict, num_steps: int) -> tuple[ConfigDict, dict[str, Any]]:
    """Returns the config of a short run with three evaluations, six saves and a row of metrics for each step.

    A warm-up becomes a quarter of the run. Boundaries of the learning rate become the middle of the run.

    Args:
      config: config of the run.
      num_steps: steps of the short run.

    Returns:
      The new config, and the changed keys with their new values.
    """
    given = {f"optim.{key}" for key in durations.WARMUP if config.optim[key]}
    values: dict[str, Any] = {f"train.{key}": 0 for key in (*durations.LENGTH, *durations.EVERY)} | dict.fromkeys(
        given, 0
    )
    values |= {"train.num_steps": num_steps, "train.eval_every": max(num_steps // 3, 1), "train.log_every": 1}
    values["checkpoint.every"] = max(num_steps // 6, 1)
    if given:
        values["optim.warmup_steps"] = num_steps // 4
    if config.optim.boundaries:
        values["optim.boundaries"] = (num_steps // 2,)
    before, short = config, ConfigDict(config.to_dict())
    short.update_from_flattened_dict({key: _like(_get(before, key), value) for key, value in values.items()})
    return short, {key: _get(short, key) for key in sorted(values) if _get(short, key) != _get(before, key)}


def compare(one: Path, other: Path) -> tuple[list[str], str]:
    """Compares the rows of metrics.jsonl and the last checkpoint of two workdirs.

    Args:
      one: workdir of the uninterrupted run.
      other: workdir of the killed run.

    Returns:
      A line for each difference, and a summary of what was compared.
    """
    rows, differences = [_rows(one), _rows(other)], []
    parted = next((i for i in range(max(map(len, rows))) if rows[0][i : i + 1] != rows[1][i : i + 1]), None)
    if parted is not None:
        first = [of_run[parted] if parted < len(of_run) else {} for of_run in rows]
        differences.append(f"metrics.jsonl from {_first_difference(*first)}")
    (step, leaves), (other_step, others) = (_last_checkpoint(workdir) for workdir in (one, other))
    if step != other_step:
        differences.append(f"the last checkpoint is of step {step} undisturbed, {other_step} killed")
    unequal = [name for name in sorted({*leaves, *others}) if not _same(leaves.get(name), others.get(name))]
    if unequal:
        greatest = max(_distance(leaves.get(name), others.get(name)) for name in unequal)
        differences.append(
            f"{len(unequal)} of {len({*leaves, *others})} leaves of checkpoint {step}, by at most {greatest:.3g}: "
            + ", ".join(unequal)
        )
    return differences, f"{len(leaves)} leaves of checkpoint {step} bit by bit, {len(rows[0])} rows of metrics.jsonl"


def _rows(workdir: Path) -> list[dict]:
    """Returns the rows of metrics without the columns of the process; the last row of each start is only about it."""
    rows = (row for row in read_metrics(workdir / "metrics.jsonl") if row["split"] != "run")
    return [{key: value for key, value in row.items() if key not in PROCESS} for row in rows]


def _first_difference(one: dict, other: dict) -> str:
    """Describes how two rows differ; an empty one is missing."""
    row = one or other
    where = f"step {row['step']} ({row['split']}) on: "
    if not one or not other:
        return where + f"only the {'undisturbed' if one else 'killed'} run has this row"
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return where + ", ".join(f"{key} {one.get(key)} undisturbed, {other.get(key)} killed" for key in keys)


def _last_checkpoint(workdir: Path) -> tuple[int, dict[str, np.ndarray]]:
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        step = checkpointer.step_of("latest")
        return step, checkpointer.read_leaves(step)


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Returns True if type, shape and every bit are the same: 0 differs from -0, and NaN equals the same NaN."""
    if one is None or other is None:
        return False
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def _distance(one: np.ndarray | None, other: np.ndarray | None) -> float:
    """Returns the largest difference of two elements; infinite for different shapes, or if one is not finite."""
    if one is None or other is None or one.shape != other.shape:
        return np.inf
    gap = np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0)
    return float(gap) if np.isfinite(gap) else np.inf


def _get(config: ConfigDict, key: str):
    section, _, name = key.partition(".")
    return config[section][name]


def _like(before, value):
    return float(value) if isinstance(before, float) else value


def _as_file(config: ConfigDict) -> str:
    """Returns the text of a config file for `--config`."""
    return (
        "from ml_collections import ConfigDict\n\n\n"
        f'def get_config(arg=""):\n    return ConfigDict({config.to_dict()!r})\n'
    )
