"""Sets up Orbax's manager of a folder of checkpoints for this project; `checkpointer.py` saves and reads through it."""

import datetime
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import orbax.checkpoint as ocp
from etils.epath import Path
from orbax.checkpoint import checkpoint_managers as policies

from unet_jax.checkpoints import integrity
from unet_jax.checkpoints.finished import is_finished, read_contents
from unet_jax.checkpoints.silence_orbax import silence_orbax
from unet_jax.runtime import processes
from unet_jax.storage.plain_folder import plain_folder
from unet_jax.storage.write_errors import report_write_errors


def open_manager(directory: Path, *, latest: int, read_only: bool) -> "Manager":
    """Opens a folder of checkpoints for this process alone. Process 0 makes the folder; the other processes only read.

    Args:
      directory: the folder of the checkpoints.
      latest: how many of the latest checkpoints to keep, in addition to the best.
      read_only: True: create and delete nothing.
    """
    silence_orbax()
    process = processes.process_index()
    read_only = read_only or process > 0
    if not read_only:
        # Orbax does not make the folder for one process of several.
        with report_write_errors():
            directory.mkdir(parents=True, exist_ok=True)
    # Each process works alone. All of them hold the complete tree, so none has to wait for another, which may have died.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process_{process}"
    )
    several = processes.process_count() > 1
    return Manager(
        plain_folder(directory),
        options=ocp.CheckpointManagerOptions(
            create=False,
            read_only=read_only,
            multiprocessing_options=alone if several else ocp.options.MultiprocessingOptions(),
            step_name_format=_FinishedSteps(),
            # In a bucket it would delete every folder that is no finished checkpoint, whoever made it.
            cleanup_tmp_directories=False,
            # Without `best_fn`, best_step() would return the latest.
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
    """Opens a folder of checkpoints even if a score in it is damaged.

    Orbax reads all scores when it opens a folder, and fails at the first one that it cannot read. Here a checkpoint with a
    damaged score counts as one without a score, so it is never the best.
    """

    def metrics(self, step: int) -> dict[str, float | str] | None:
        """Returns the score of `step` as it was saved, or None if it is missing or damaged."""
        return self._read_score(step)[0]

    def best_step(self) -> int | None:
        """Returns the step with the best score, or None if no checkpoint has a score.

        Returns the latest step if no score is above 0. Scores of 0 and NaN do not choose: images without the classes give
        NaN to a network that is right, and 0 to one that has learnt nothing.
        """
        best = super().best_step()
        metrics = None if best is None else self.metrics(best)
        return self.latest_step() if metrics and not _score(metrics) > 0 else best

    def score_damage(self, step: int) -> str:
        """Returns why the score of `step` is damaged, or "" if it is intact or none was written."""
        return self._read_score(step)[1]

    def _read_score(self, step: int) -> tuple[dict[str, float | str] | None, str]:
        """Returns the score, None if it is missing or damaged, and why it is damaged. Reads the file once.

        A run that still trains may delete the checkpoint at any moment.
        """
        try:
            metrics = super().metrics(step)
        except integrity.UNREADABLE as error:
            # The file is not JSON, or not UTF-8, or not a file.
            return None, f"metrics/metrics, its score, cannot be read ({integrity.describe_read_error(error)})"
        if metrics is None:
            return None, "metrics/metrics, its score, is missing" if self._was_scored(step) else ""
        if not isinstance(metrics, dict) or "sha256" not in metrics:
            return None, "metrics/metrics, its score, has no sha256: another version wrote it"
        if not integrity.is_score_intact(metrics, step):
            return None, "metrics/metrics, its score, is not what was written"
        return metrics, ""

    def _was_scored(self, step: int) -> bool:
        try:
            metadata = json.loads((self.directory / str(step) / "_CHECKPOINT_METADATA").read_text())
            return "metrics" in metadata["item_handlers"]
        except integrity.UNREADABLE:
            # Nobody can know; the state can be used without its score.
            return False


class _Step(ocp.path.step.Metadata):
    """A step and its folder, without its time: Orbax would read that from a file that may be damaged, and no rule needs it."""

    @property
    def commit_timestamp(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(0, datetime.UTC)


class _FinishedSteps(ocp.path.step.NameFormat[_Step]):
    """Names a checkpoint by its step, and finds the finished ones. Orbax takes every folder with a number for its name."""

    def build_name(self, step: int) -> str:
        return str(step)

    def find_all(self, base_path: Path) -> Iterator[_Step]:
        folder = Path(base_path)
        return iter([_Step(step, folder / self.build_name(step)) for step in read_contents(folder).steps])

    def find_step(self, base_path: Path, step: int) -> _Step:
        path = Path(base_path) / self.build_name(step)
        if not is_finished(path):
            raise ValueError(f"{path} is no finished checkpoint")
        return _Step(step, path)


def _score(metrics: Mapping[str, Any]) -> float:
    score = metrics["score"]
    # Orbax would delete the best checkpoint if a score were NaN.
    return -math.inf if math.isnan(score) else score
