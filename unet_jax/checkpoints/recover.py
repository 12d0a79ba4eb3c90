"""Resumes a run from its latest checkpoint or, where that is damaged, from the one before it."""

from typing import TypeVar

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.integrity import DamagedCheckpoint
from unet_jax.errors import UserError
from unet_jax.runtime import processes

State = TypeVar("State")


def restore_latest(checkpointer: Checkpointer, like: State) -> tuple[int, State]:
    """Restores the latest state that is intact.

    Moves each later, damaged checkpoint to another folder, and prints what is damaged. The run then takes and saves those
    steps again. Moves an older checkpoint too if its score is damaged, because a checkpoint without a score would be
    deleted by the next save.

    Args:
      checkpointer: has at least one checkpoint, and may write.
      like: the state to read, as for `Checkpointer.restore`.

    Returns:
      The step of the state, and a tree like `like`. With several processes, process 0 reads it; the others get `like`.

    Raises:
      UserError: every checkpoint is damaged, or the latest intact one does not fit the config. If all are damaged, nothing
        is moved and the run does not start again from step 0; the user must decide that.
    """
    state = like

    def restore() -> int:
        nonlocal state
        step, state = _restore_latest(checkpointer, like)
        return step

    return processes.on_process_0(restore), state


def _restore_latest(checkpointer: Checkpointer, like: State) -> tuple[int, State]:
    damaged: dict[int, DamagedCheckpoint] = {}
    restored: tuple[int, State] | None = None
    for step in reversed(checkpointer.steps()):
        try:
            checkpointer.verify_score(step)
            restored = restored or (step, checkpointer.restore(step, like))
        except DamagedCheckpoint as error:
            damaged[step] = error
    if restored is None:
        raise UserError(
            "; ".join(error.what for error in damaged.values())
            + ". No other checkpoint is left: restore one from a backup, or start into another --workdir"
        )
    for step, damage in damaged.items():
        target = checkpointer.move_to_damaged(step)
        print(f"warning: {damage.what}. It was moved to {target}; delete it if you do not need it")
    if damaged and max(damaged) > restored[0]:
        print(f"warning: the run goes on from the previous checkpoint, step {restored[0]}")
    return restored
