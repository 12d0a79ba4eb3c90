"""A run that resumes: from its latest checkpoint, or, where that is damaged, from the one before it."""

from typing import Any

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.integrity import Damaged
from unet_jax.errors import UserError
from unet_jax.runtime import parallel


def restore_latest(checkpointer: Checkpointer, like) -> tuple[int, Any]:
    """The latest state that is whole.

    Damaged checkpoints on the way to it are set aside, each with a line that says what is damaged: their steps are taken
    and saved anew. So is an older one whose score is damaged, as the next save would delete it for having none.

    Args:
      checkpointer: of a folder with at least one checkpoint; it may write there.
      like: the state to read, as for `Checkpointer.restore`.

    Returns:
      Its step, and a tree like `like`. Of several processes the first reads it, and the others have `like` itself.

    Raises:
      UserError: every checkpoint is damaged (nothing is moved then, and the run does not start anew: that is the user's
        to decide), or the latest whole one does not fit the config.
    """
    state = like

    def restore() -> int:
        nonlocal state
        step, state = _restore_latest(checkpointer, like)
        return step

    return parallel.on_process_0(restore), state


def _restore_latest(checkpointer: Checkpointer, like) -> tuple[int, Any]:
    damaged: dict[int, Damaged] = {}
    found = None
    for step in reversed(checkpointer.steps()):
        try:
            checkpointer.check_score(step)
            found = found or (step, checkpointer.restore(step, like))
        except Damaged as error:
            damaged[step] = error
    if found is None:
        raise UserError(
            "; ".join(error.what for error in damaged.values())
            + ". No other one is left: bring one back from a copy, or start into another --workdir"
        )
    for step, error in damaged.items():
        print(f"warning: {error.what}. It was moved to {checkpointer.set_aside(step)}; delete it if it is of no use")
    if damaged and max(damaged) > found[0]:
        print(f"warning: going on from the checkpoint before, of step {found[0]}")
    return found
