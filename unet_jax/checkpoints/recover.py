"""Resumes a run from its latest checkpoint or, where that is damaged, from the one before it."""

from typing import Any

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.integrity import DamagedCheckpoint
from unet_jax.errors import UserError
from unet_jax.runtime import processes


def restore_latest(checkpointer: Checkpointer, like) -> tuple[int, Any]:
    """Restores the latest state that is whole.

    Moves each damaged checkpoint after it to another folder and prints what is damaged; the run takes and saves those
    steps again. Moves an older checkpoint too where its score is damaged: it has no score then, and the next save would
    delete it.

    Args:
      checkpointer: has at least one checkpoint, and may write.
      like: the state to read, as for `Checkpointer.restore`.

    Returns:
      Its step, and a tree like `like`. With several processes, process 0 reads it; the others get `like` itself.

    Raises:
      UserError: every checkpoint is damaged, or the latest whole one does not fit the config. If all are damaged, nothing
        is moved, and the run does not start again from step 0: the user decides that.
    """
    state = like

    def restore() -> int:
        nonlocal state
        step, state = _restore_latest(checkpointer, like)
        return step

    return processes.on_process_0(restore), state


def _restore_latest(checkpointer: Checkpointer, like) -> tuple[int, Any]:
    damaged: dict[int, DamagedCheckpoint] = {}
    restored = None
    for step in reversed(checkpointer.steps()):
        try:
            checkpointer.verify_score(step)
            restored = restored or (step, checkpointer.restore(step, like))
        except DamagedCheckpoint as error:
            damaged[step] = error
    if restored is None:
        raise UserError(
            "; ".join(error.what for error in damaged.values())
            + ". No other one is left: bring one back from a copy, or start into another --workdir"
        )
    for step, error in damaged.items():
        target = checkpointer.move_to_damaged(step)
        print(f"warning: {error.what}. It was moved to {target}; delete it if it is of no use")
    if damaged and max(damaged) > restored[0]:
        print(f"warning: going on from the checkpoint before, of step {restored[0]}")
    return restored
