"""Proof that a killed and resumed run gives the same bits as an undisturbed one.

WORKDIR/verify_resume/config.py     the config of both runs, shortened
WORKDIR/verify_resume/undisturbed/  a workdir; undisturbed.log is what that run printed
WORKDIR/verify_resume/killed/       a workdir; killed.log is what all its starts printed
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from unet_jax.analysis.verify_resume import kills
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.experiment import durations
from unet_jax.storage import paths
from unet_jax.storage.write_errors import report_write_errors
from unet_jax.tracking.metrics_file import read_metrics

# What a row tells of the process that wrote it: how long it took, and what it had compiled before.
PROCESS = ("step_s", "images_per_s", "data_wait", "matmul_utilization", "seconds", "num_compiles")


def verify_resume(
    config: ConfigDict,
    workdir,
    *,
    command: Sequence[str],
    num_steps: int = 12,
    num_kills: int = 3,
    tell: Callable = print,
) -> bool:
    """Trains the config's first steps twice, the second time with SIGKILLs between, and compares what is left.

    The devices are left to the child processes: this one asks for none before they have ended.

    Args:
      config: as of `configs/default.py`.
      workdir: gets the folder `verify_resume`; what else is in it is not touched.
      command: of a program that trains, without `--config` and `--workdir`.
      num_steps: of both runs; see `shorten`.
      num_kills: at moments drawn by the config's seed, a third of them, rounded up, in a save.
      tell: is given the lines of the report.

    Returns:
      True if every leaf of the last checkpoint and every row of metrics.jsonl are the same.

    Raises:
      UserError: the folder is there already, a run failed, or was too short for that many kills.
    """
    place = Path(paths.resolve_local(workdir, "--workdir")) / "verify_resume"
    if place.exists():
        raise UserError(f"{place} is there already, from an earlier check; remove it, or give another --workdir")
    config, changed = shorten(config, num_steps)
    with report_write_errors():
        place.mkdir(parents=True)
        (place / "config.py").write_text(_as_file(config))
    tell("shortened: " + ", ".join(f"{key}={value!r}" for key, value in changed.items()))

    def training(name):
        return [*command, f"--config={place / 'config.py'}", f"--workdir={place / name}"], place / f"{name}.log"

    with kills.Child(*training("undisturbed")) as child:
        child.finish()
    tell(f"undisturbed: trained into {place / 'undisturbed'}")
    moments = kills.draw_moments(num_kills, num_steps, config.seed)
    again, log = training("killed")
    done = kills.run_killed(again, place / "killed", log, moments, seed=config.seed, tell=tell)
    differences, seen = compare(place / "undisturbed", place / "killed")
    in_saves = sum(bool(kill.save) for kill in done)
    for line in differences:
        tell(f"different: {line}")
    if not differences:
        tell(f"equal: {seen}, after {len(done)} kills, {in_saves} of them in a save")
    return not differences


def shorten(config: ConfigDict, num_steps: int) -> tuple[ConfigDict, dict]:
    """The config of a run of that many steps with three evaluations, six saves and a row for each step.

    A warm-up becomes a quarter of the run, boundaries of the rate become its middle.

    Returns:
      The new config, and the keys that are changed with their values.
    """
    given = {f"optim.{key}" for key in durations.WARMUP if config.optim[key]}
    values = {f"train.{key}": 0 for key in (*durations.LENGTH, *durations.EVERY)} | dict.fromkeys(given, 0)
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
    """How two workdirs differ, a line each, and what was looked at: the rows of metrics.jsonl, the last checkpoint."""
    rows, differences = [_rows(one), _rows(other)], []
    parted = next((i for i in range(max(map(len, rows))) if rows[0][i : i + 1] != rows[1][i : i + 1]), None)
    if parted is not None:
        differences.append(
            "metrics.jsonl from " + _first_difference(*(r[parted] if parted < len(r) else {} for r in rows))
        )
    (step, leaves), (other_step, others) = (_last_checkpoint(workdir) for workdir in (one, other))
    if step != other_step:
        differences.append(f"the last checkpoint is of step {step}, and of step {other_step}")
    unequal = [name for name in sorted({*leaves, *others}) if not _same(leaves.get(name), others.get(name))]
    if unequal:
        greatest = max(_distance(leaves.get(name), others.get(name)) for name in unequal)
        differences.append(
            f"{len(unequal)} of {len({*leaves, *others})} leaves of checkpoint {step}, by {greatest:.3g} at most: "
            + ", ".join(unequal)
        )
    return differences, f"{len(leaves)} leaves of checkpoint {step} bit by bit, {len(rows[0])} rows of metrics.jsonl"


def _rows(workdir: Path) -> list[dict]:
    """What the rows tell of the run; the last one of each start tells of the process alone."""
    rows = (row for row in read_metrics(workdir / "metrics.jsonl") if row["split"] != "run")
    return [{key: value for key, value in row.items() if key not in PROCESS} for row in rows]


def _first_difference(one: dict, other: dict) -> str:
    row = one or other
    where = f"step {row['step']} ({row['split']}) on: "
    if not one or not other:
        return where + f"only the {'undisturbed' if one else 'killed'} run has that row"
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return where + ", ".join(f"{key} {one.get(key)} undisturbed, {other.get(key)} killed" for key in keys)


def _last_checkpoint(workdir: Path) -> tuple[int, dict[str, np.ndarray]]:
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        step = checkpointer.step_of("latest")
        return step, checkpointer.read_leaves(step)


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """In type, shape and every bit: 0 is not -0, and NaN is the same NaN."""
    if one is None or other is None:
        return False
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def _distance(one: np.ndarray | None, other: np.ndarray | None) -> float:
    """The greatest between two elements; infinite where they do not stand side by side, or one is not finite."""
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
    """The config as a file of `--config`."""
    return (
        "from ml_collections import ConfigDict\n\n\n"
        f'def get_config(arg=""):\n    return ConfigDict({config.to_dict()!r})\n'
    )
