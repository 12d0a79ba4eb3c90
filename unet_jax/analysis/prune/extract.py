"""Writes a level of a trained network as a workdir, which every program takes like that of a run."""

import json
import uuid

from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.runs import workdir as folder
from unet_jax.runs.load import open_run
from unet_jax.storage import json_file, paths
from unet_jax.storage.write_errors import report_write_errors

# What a pruned network's folder holds.
FILES = ("config.json", "versions.json", "checkpoints", "prune.json", "prune.csv", "prune.png")


def level_config(config: ConfigDict, level: int, mode: str) -> ConfigDict:
    """Returns the config of that level alone: with `model.level`, `eval.mode`, and no weights for heads above it."""
    config = config.copy_and_resolve_references()
    config.model.level, config.eval.mode = level, mode
    config.loss.head_weights = tuple(config.loss.head_weights)[:level]
    return config


def write(workdir, out, *, level: int, mode: str, step: int, score: float, overwrite: bool = False, **about) -> Path:
    """Writes a level of a run's network into `out`, which appears in one move; returns it.

    OUT/config.json     the run's, of that level alone (`level_config`)
    OUT/versions.json   the run's, and under `pruned` where it comes from, and `about`
    OUT/checkpoints/    parameters and statistics of that level, all its heads, bit by bit; no state of the optimiser

    Args:
      workdir: of the whole; of its checkpoint only what the level has is read.
      step: of the checkpoint.
      score: what the checkpoint counts as where the best is asked for.

    Raises:
      UserError: `check_free`, or as `training.load.open_run`.
    """
    workdir, out = folder.resolve(workdir), folder.resolve(out)
    check_free(out, overwrite)
    run = open_run(workdir, checkpoint=step, mode="accurate", level=level)
    versions = json.loads((workdir / "versions.json").read_text())
    versions[folder.PRUNED] = {"from": str(workdir), "step": step, "level": level, "mode": mode, **about}
    working = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        with report_write_errors():
            config = level_config(run.config, level, mode)
            # The weights written are those that the run is used with: raw or averaged.
            config.optim.ema_decay, config.eval.weights = 0.0, "raw"
            json_file.write(working / "config.json", json.loads(config.to_json()), indent=2)
            json_file.write(working / "versions.json", versions, indent=2)
            with Checkpointer(working / "checkpoints") as checkpointer:
                checkpointer.save(step, run.predictor.variables, score)
            paths.replace(working, out)
    finally:
        paths.remove(working)
    return out


def check_free(out, overwrite: bool) -> None:
    """Raises UserError where `out` holds anything, unless that is a pruned network alone and `overwrite` is said."""
    out = folder.resolve(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    versions = out / "versions.json"
    if not versions.is_file() or folder.PRUNED not in json.loads(versions.read_text()):
        raise UserError(f"{out} is there and no pruned network; give another --out")
    if not overwrite:
        raise UserError(f"{out} holds a pruned network already; give another --out, or --overwrite to replace it")
    others = sorted(path.name for path in out.iterdir() if path.name not in FILES)
    if others:
        raise UserError(
            f"{out} holds more than a pruned network ({', '.join(others)}); move that away, or give another --out"
        )
