"""What a damaged checkpoint is and how that is reported; `checkpointer.py` finds it, `recover.py` goes on without it."""

import contextlib
import errno

import numpy as np

from unet_jax.checkpoints import disk_space
from unet_jax.checkpoints.tree import leaf_digest
from unet_jax.errors import UserError
from unet_jax.storage.write_errors import first_line, translate_bucket_error

REMEDY = "evaluate another one (run_eval.py --checkpoint=STEP); a run that resumes goes on from the one before"


class DamagedCheckpoint(UserError):
    """Says that a checkpoint is not what was written.

    Attributes:
      what: which checkpoint, which part of it, and why, without the remedy.
    """

    def __init__(self, what: str):
        super().__init__(f"{what}; {REMEDY}")
        self.what = what

    def __reduce__(self):
        # Pickled between processes from `what` alone; from the message it would name the remedy twice.
        return DamagedCheckpoint, (self.what,)


def score_with_digest(score: float) -> dict[str, float | str]:
    """Returns a score as it is saved: with its sha256, so that a flipped bit is found."""
    return {"score": float(score), "sha256": leaf_digest(np.float64(score))}


def is_score_intact(saved) -> bool:
    """Returns whether `saved` is what `score_with_digest` wrote."""
    score = saved.get("score") if isinstance(saved, dict) else None
    return isinstance(score, float) and saved.get("sha256") == leaf_digest(np.float64(score))


def describe_read_error(error: Exception) -> str:
    """Returns the first line of a message, without the specification of a file that may stand behind it."""
    return first_line(error).split(" [tensorstore_spec=")[0].split(" [source ")[0]


@contextlib.contextmanager
def raise_if_damaged(item: str):
    """Turns the errors of reading `item` inside the context into those of a user.

    Raises:
      DamagedCheckpoint: what was read is not what was written.
      UserError: it may well be whole: the bucket refuses, there is no permission, or the disk fails.
    """
    try:
        yield
    except Exception as error:
        if bucket_error := translate_bucket_error(error):
            raise UserError(f"{item} cannot be read: {bucket_error}") from error
        if not isinstance(error, OSError | ValueError | KeyError | TypeError | AttributeError):
            raise
        what = f"{item} cannot be read ({describe_read_error(error)})"
        if disk_space.error_number(error) in (None, errno.ENOENT, errno.ENOTDIR):
            raise DamagedCheckpoint(what) from error
        raise UserError(f"{what}; {REMEDY}") from error
