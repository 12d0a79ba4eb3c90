"""Reads a checkpoint that is chosen by its score or its age, while the run may train and delete checkpoints."""

import time
from collections.abc import Callable
from typing import TypeVar

from etils.epath import Path

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.finished import is_finished
from unet_jax.checkpoints.integrity import DamagedCheckpoint

Content = TypeVar("Content")

# A run that trains deletes the chosen checkpoint at most once for each that it saves.
TRIES = 20
# Seconds in which a deletion that has begun is seen to end.
DELETION_S = 0.5


def read_chosen(directory: Path, which: str | int, read: Callable[[Checkpointer, int], Content]) -> tuple[int, Content]:
    """Chooses a checkpoint and reads it. Chooses again where the run deletes the checkpoint before it is read.

    Args:
      directory: the folder of the checkpoints.
      which: "best", "latest" or a step.
      read: reads the checkpoint of a step; it is called again after a deletion.

    Returns:
      The step, and what `read` has returned.

    Raises:
      UserError: as `Checkpointer.step_of` and `read`.
    """
    for tries_left in reversed(range(TRIES)):
        with Checkpointer(directory, read_only=True) as checkpointer:
            step = checkpointer.step_of(which)
            try:
                return step, read(checkpointer, step)
            except DamagedCheckpoint:
                if not tries_left or not _is_deleted(directory / str(step)):
                    raise
    raise AssertionError("the last try returns or raises")


def _is_deleted(path: Path) -> bool:
    """Returns True if a checkpoint that could not be read is gone; a run deletes its files one after another."""
    if is_finished(path):
        time.sleep(DELETION_S)
    return not is_finished(path)
