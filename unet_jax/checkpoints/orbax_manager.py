"""Orbax's manager of a folder of checkpoints, as this project sets it up; `checkpoint.py` saves and reads through it."""

import json
import math
from collections.abc import Mapping

import orbax.checkpoint as ocp
from etils.epath import Path
from orbax.checkpoint import checkpoint_managers as policies

from unet_jax.checkpoints import integrity
from unet_jax.checkpoints.silence_orbax import silence_orbax
from unet_jax.runtime import parallel


def open_manager(directory: Path, *, latest: int, read_only: bool) -> "Manager":
    """Opens a folder for this process alone: process 0 makes it where it is not there, all others only read.

    Args:
      directory: of the checkpoints.
      latest: how many of the latest to keep, beside the best.
      read_only: for reading alone: creates and deletes nothing.
    """
    silence_orbax()
    process = parallel.process_index()
    read_only = read_only or process > 0
    if not read_only:
        directory.mkdir(parents=True, exist_ok=True)  # Orbax does not for one process of several
    return Manager(
        directory,
        options=ocp.CheckpointManagerOptions(
            create=False,
            read_only=read_only,
            # Each process by itself: the tree is whole in all, so none has to wait for another, least of all a dead one.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process_{process}"
            )
            if parallel.process_count() > 1
            else ocp.options.MultiprocessingOptions(),
            cleanup_tmp_directories=not read_only,  # what a killed run had half written
            best_fn=_score,  # without it best_step() is the latest
            best_mode="max",
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(latest),
                    policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
                ]
            ),
        ),
    )


class Manager(ocp.CheckpointManager):
    """Opens a folder with a damaged score, too, where Orbax's own does not: that checkpoint has none, and is never the best."""

    def metrics(self, step: int):
        return None if self.score_damage(step) else super().metrics(step)

    def score_damage(self, step: int) -> str:
        """Why the score of `step` cannot be believed; "" where it can, and where none was written."""
        try:
            metrics = super().metrics(step)
        except ValueError as error:  # of JSON or of its encoding
            return f"metrics/metrics, its score, cannot be read ({integrity.first_line(error)})"
        if metrics is None:
            return "metrics/metrics, its score, is missing" if self._was_scored(step) else ""
        return "" if integrity.is_duplicated_score(metrics) else "metrics/metrics, its score, is not what was written"

    def _was_scored(self, step: int) -> bool:
        try:
            noted = json.loads((self.directory / str(step) / "_CHECKPOINT_METADATA").read_text())
            return "metrics" in noted["item_handlers"]
        except (OSError, ValueError, LookupError, TypeError):
            return False  # it cannot be known, and the state does not need it


def _score(metrics: Mapping[str, float]) -> float:
    score = metrics["score"]
    return -math.inf if math.isnan(score) else score  # a NaN among the scores would delete the best checkpoint
