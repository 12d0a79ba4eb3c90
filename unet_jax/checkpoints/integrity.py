"""What it means that a checkpoint is damaged, and how that is told; `checkpoint.py` finds it, `recover.py` goes round it."""

import contextlib
import errno

from unet_jax.checkpoints import disk_space
from unet_jax.errors import UserError
from unet_jax.storage.write_errors import translate_bucket_error

REMEDY = "evaluate another one (run_eval.py --checkpoint=STEP); a run that resumes goes on from the one before"


class Damaged(UserError):
    """A checkpoint is not what was written; `what` says which one, what of it, and why, without the remedy."""

    def __init__(self, what: str):
        super().__init__(f"{what}; {REMEDY}")
        self.what = what

    def __reduce__(self):  # between processes: the remedy once
        return Damaged, (self.what,)


def duplicate_score(score: float) -> dict[str, float]:
    """A score as it is saved. No digest holds it; a flipped bit makes the two differ."""
    return {"score": float(score), "copy": float(score)}


def is_duplicated_score(saved) -> bool:
    """Whether this is what `twice` wrote; checkpoints from before it have the score once."""
    score = saved.get("score") if isinstance(saved, dict) else None
    return isinstance(score, float) and repr(saved.get("copy", score)) == repr(score)  # repr: NaN equals no NaN


def first_line(error: Exception) -> str:
    """The first line of a message, without the specification of a file that may stand behind it."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return line.split(" [tensorstore_spec=")[0].split(" [source ")[0]


@contextlib.contextmanager
def raise_if_damaged(item: str):
    """Around the reading of `item`: Damaged where that is not what was written, UserError where it may well be whole."""
    try:
        yield
    except Exception as error:
        if told := translate_bucket_error(error):
            raise UserError(f"{item} cannot be read: {told}") from error
        if not isinstance(error, OSError | ValueError | KeyError | TypeError | AttributeError):
            raise
        what = f"{item} cannot be read ({first_line(error)})"
        if disk_space.error_number(error) in (None, errno.ENOENT, errno.ENOTDIR):
            raise Damaged(what) from error
        raise UserError(f"{what}; {REMEDY}") from error  # no permission, a failing disk
