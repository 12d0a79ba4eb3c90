"""Defines and reports a damaged checkpoint. `checkpointer.py` detects damage; `recover.py` goes on without the checkpoint."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

import numpy as np

from unet_jax.checkpoints import disk_space
from unet_jax.checkpoints.tree import leaf_digest
from unet_jax.errors import UserError
from unet_jax.storage.plain_folder import with_own_names
from unet_jax.storage.write_errors import first_line, translate_bucket_error

REMEDY = "evaluate another one (unet-jax eval --checkpoint=STEP); a run that resumes goes on from the previous one"

# What Orbax raises for files with another content than it wrote.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RecursionError,
    NotImplementedError,
)


class DamagedCheckpoint(UserError):
    """Reports that the content of a checkpoint differs from what was saved.

    Args:
      what: the checkpoint, its damaged part and the reason, without the remedy.

    Attributes:
      what: the same text.
    """

    def __init__(self, what: str):
        super().__init__(f"{what}; {REMEDY}")
        self.what = what


def score_with_digest(score: float, step: int) -> dict[str, float | str]:
    """Returns a score in the form in which it is saved: with its step and a sha256 of both.

    So a flipped bit is detected, and the score of another checkpoint.

    >>> saved = score_with_digest(0.5, 7)
    >>> is_score_intact(saved, 7), is_score_intact(saved, 8), is_score_intact(saved | {"score": 0.75}, 7)
    (True, False, False)
    """
    return {"score": float(score), "step": step, "sha256": _score_digest(score, step)}


def is_score_intact(saved: Any, step: int) -> bool:
    """Returns True if `saved` is the score of `step` with the sha256 that `score_with_digest` gave it.

    A score of 0.2.0 has no step; its sha256 is that of the score alone.
    """
    score = saved.get("score") if isinstance(saved, dict) else None
    if not isinstance(score, float):
        return False
    return saved.get("sha256") == (_score_digest(score, step) if "step" in saved else leaf_digest(np.float64(score)))


def _score_digest(score: float, step: int) -> str:
    return leaf_digest(np.array([score, step], np.float64))


def describe_read_error(error: Exception) -> str:
    """Returns the first line of an error's message, without the file specification that TensorStore appends."""
    return with_own_names(first_line(error).split(" [tensorstore_spec=")[0].split(" [source ")[0])


@contextlib.contextmanager
def raise_if_damaged(item: str) -> Iterator[None]:
    """Turns errors that occur while `item` is read inside the context into errors for the user.

    Args:
      item: what is read, for the message.

    Raises:
      DamagedCheckpoint: a file is missing, or does not have the content that was saved.
      UserError: the item may be intact, but the bucket refuses, permission is missing, or the disk fails.
    """
    try:
        yield
    except Exception as error:
        if bucket_error := translate_bucket_error(error):
            raise UserError(f"{item} cannot be read: {bucket_error}") from error
        if not isinstance(error, UNREADABLE):
            raise
        what = f"{item} cannot be read ({describe_read_error(error)})"
        if disk_space.error_number(error) in (None, errno.ENOENT, errno.ENOTDIR):
            raise DamagedCheckpoint(what) from error
        raise UserError(f"{what}; {REMEDY}") from error
