"""Writes a level of a trained network as a workdir that every command can use."""

import os
import uuid
from typing import Any

from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.runs import workdir as folder
from unet_jax.runs.load import open_run
from unet_jax.runs.records import read_versions
from unet_jax.storage import json_file, paths
from unet_jax.storage.write_errors import report_write_errors

# The files of a pruned network's folder.
FILES = ("config.json", "versions.json", "checkpoints", "prune.json", "prune.csv", "prune.png")


def level_config(config: ConfigDict, level: int, mode: str) -> ConfigDict:
    """Returns the config of one level alone.

    Args:
      config: config of the whole network.
      level: the level; heads above it lose their weights.
      mode: "accurate" or "fast", for `eval.mode`.
    """
    config = config.copy_and_resolve_references()
    config.model.level, config.eval.mode = level, mode
    config.loss.head_weights = tuple(config.loss.head_weights)[:level]
    return config


def write(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    *,
    level: int,
    mode: str,
    step: int,
    score: float,
    overwrite: bool = False,
    **about: Any,
) -> Path:
    """Writes a level of a run's network into a folder, which appears in one move.

    OUT/config.json     the run's config for that level alone (`level_config`)
    OUT/versions.json   the run's versions and, under `pruned`, the origin of the network and `about`
    OUT/checkpoints/    parameters and statistics of that level and its heads, bit by bit, without optimiser state

    Args:
      workdir: folder of the run; only the part of the checkpoint that the level needs is read.
      out: folder to write.
      level: the level.
      mode: "accurate" or "fast".
      step: step of the checkpoint.
      score: score of the checkpoint, which is used to choose the best.
      overwrite: replaces a pruned network in `out`.
      **about: further facts for `versions.json`.

    Returns:
      The folder.

    Raises:
      UserError: `out` is not free (`check_free`), or the run cannot be opened (`runs.load.open_run`).
    """
    source, target = folder.resolve(workdir), folder.resolve(out)
    check_free(target, overwrite)
    run = open_run(source, checkpoint=step, mode="accurate", level=level)
    versions = read_versions(source)
    versions[folder.PRUNED] = {"from": str(source), "step": step, "level": level, "mode": mode, **about}
    working = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with report_write_errors():
            config = level_config(run.config, level, mode)
            # The weights written are those that the run predicts with, raw or averaged.
            config.optim.ema_decay, config.eval.weights = 0.0, "raw"
            json_file.write(working / "config.json", json_file.plain(config.to_dict()), indent=2)
            json_file.write(working / "versions.json", versions, indent=2)
            with Checkpointer(working / "checkpoints") as checkpointer:
                checkpointer.save(step, run.predictor.variables, score)
            paths.replace(working, target)
    finally:
        paths.remove(working)
    return target


def check_free(out: str | os.PathLike, overwrite: bool) -> None:
    """Checks that a folder can be written.

    Args:
      out: the folder.
      overwrite: True if a pruned network there may be replaced.

    Raises:
      UserError: the folder holds files, unless they are only a pruned network and `overwrite` is True.
    """
    place = folder.resolve(out)
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    versions = place / "versions.json"
    if not versions.is_file() or folder.PRUNED not in json_file.read_object(versions, "give another --out"):
        raise UserError(f"{place} exists and is not a pruned network; give another --out")
    if not overwrite:
        raise UserError(f"{place} already holds a pruned network; give another --out, or --overwrite to replace it")
    others = sorted(path.name for path in place.iterdir() if path.name not in FILES)
    if others:
        raise UserError(
            f"{place} holds other files than a pruned network ({', '.join(others)}); move them, or give another --out"
        )
