"""Orbax's manager of a folder of checkpoints, set up for this project; `checkpointer.py` saves and reads through it."""

import json
import math
from collections.abc import Mapping

import orbax.checkpoint as ocp
from etils.epath import Path
from orbax.checkpoint import checkpoint_managers as policies

from unet_jax.checkpoints import integrity
from unet_jax.checkpoints.silence_orbax import silence_orbax
from unet_jax.runtime import processes


def open_manager(directory: Path, *, latest: int, read_only: bool) -> "Manager":
    """Opens a folder of checkpoints for this process alone; process 0 makes the folder, the others only read.

    Args:
      directory: the folder of the checkpoints.
      latest: how many of the latest to keep, besides the best.
      read_only: creates and deletes nothing.
    """
    silence_orbax()
    process = processes.process_index()
    read_only = read_only or process > 0
    if not read_only:
        # Orbax does not make it for one process of several.
        directory.mkdir(parents=True, exist_ok=True)
    # Each process by itself: the tree is whole in all, so none has to wait for another, least of all a dead one.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process_{process}"
    )
    several = processes.process_count() > 1
    return Manager(
        directory,
        options=ocp.CheckpointManagerOptions(
            create=False,
            read_only=read_only,
            multiprocessing_options=alone if several else ocp.options.MultiprocessingOptions(),
            # Removes what a killed run had half written.
            cleanup_tmp_directories=not read_only,
            # Without it best_step() is the latest.
            best_fn=_score,
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
    """Orbax's manager, which also opens a folder where a score is damaged: that checkpoint has no score and is never the best.

    Orbax reads all scores when it opens a folder, and fails at the first that it cannot read.
    """

    def metrics(self, step: int):
        return None if self.score_damage(step) else super().metrics(step)

    def score_damage(self, step: int) -> str:
        """Returns why the score of `step` cannot be trusted; "" where it can, and where none was written."""
        try:
            metrics = super().metrics(step)
        except ValueError as error:
            # Of JSON or of its encoding.
            return f"metrics/metrics, its score, cannot be read ({integrity.describe_read_error(error)})"
        if metrics is None:
            return "metrics/metrics, its score, is missing" if self._was_scored(step) else ""
        if "sha256" not in metrics:
            return "metrics/metrics, its score, has no sha256, so another version wrote it"
        return "" if integrity.is_score_intact(metrics) else "metrics/metrics, its score, is not what was written"

    def _was_scored(self, step: int) -> bool:
        try:
            metadata = json.loads((self.directory / str(step) / "_CHECKPOINT_METADATA").read_text())
            return "metrics" in metadata["item_handlers"]
        except (OSError, ValueError, LookupError, TypeError):
            # It cannot be known, and the state does not need it.
            return False


def _score(metrics: Mapping[str, float]) -> float:
    score = metrics["score"]
    # A NaN among the scores would delete the best checkpoint.
    return -math.inf if math.isnan(score) else score
