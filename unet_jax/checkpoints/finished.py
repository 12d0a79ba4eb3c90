"""Tells the finished checkpoints in a folder from everything else in it that looks like one."""

import dataclasses
import os
import re
from collections.abc import Mapping

from etils.epath import Path

from unet_jax.storage import paths

# Orbax gives a checkpoint its name when it is whole. On a disk it writes into a folder with this text in its name before.
UNFINISHED = ".orbax-checkpoint-tmp"
# In a bucket, where nothing can be renamed, this object marks a whole one.
COMMITTED = "commit_success.txt"
# Every finished checkpoint has these.
PARTS = ("_CHECKPOINT_METADATA", "state", "digests")

# Why an entry is no finished checkpoint.
NOT_SAVED = "a save that has not finished"
ZEROS = "a name with leading zeros"


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a folder of checkpoints holds.

    Attributes:
      steps: the steps of the finished checkpoints, in order.
      others: what is none, with the reason, by its name; only names that could be taken for a checkpoint.
      unfinished: those of `others` that a save left, which was killed or still runs.
      parts: those of `others` that hold a part of a checkpoint, such as one that was copied half.
    """

    steps: tuple[int, ...]
    others: Mapping[str, str]
    unfinished: tuple[str, ...]
    parts: tuple[str, ...]

    def describe_others(self) -> str:
        """Returns `others` as text, such as "999 (an empty folder), 0007 (a name with leading zeros)"."""
        return ", ".join(f"{name} ({why})" for name, why in self.others.items())


def read_contents(directory: Path) -> Contents:
    """Looks at the names in a folder of checkpoints and in each checkpoint; reads no file. No folder is an empty one.

    A checkpoint that is finished here may still be damaged; `Checkpointer.restore` finds that out.

    Args:
      directory: the folder of the checkpoints.
    """
    reasons = {path.name: _why_not_finished(path) for path in _entries(directory)}
    others = {name: why for name, why in reasons.items() if why}
    return Contents(
        steps=tuple(sorted(int(name) for name, why in reasons.items() if why == "")),
        others=others,
        unfinished=tuple(name for name, why in others.items() if why == NOT_SAVED),
        parts=tuple(name for name, why in others.items() if why == ZEROS or why.startswith("a part")),
    )


def is_finished(path: Path) -> bool:
    """Returns True if a path is that of a finished checkpoint."""
    return _why_not_finished(path) == ""


def _entries(folder: Path) -> list[Path]:
    """Returns the paths in a folder, in order; [] where there is no such folder, or none any more."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _why_not_finished(path: Path) -> str | None:
    """Returns "" for a finished checkpoint, None for a name that nobody takes for one, and else why it is none."""
    if UNFINISHED in path.name:
        return NOT_SAVED if path.is_dir() else "not a folder"
    if not re.fullmatch("[0-9]+", path.name):
        return None
    if not path.is_dir():
        return "not a folder"
    missing = [part for part in PARTS if not (path / part).exists()]
    if len(missing) == len(PARTS):
        reason = "no checkpoint in it" if _entries(path) else "an empty folder"
        # The run that trains may delete it in this moment.
        return reason if path.exists() else None
    if paths.in_bucket(path) and not (path / COMMITTED).exists():
        return NOT_SAVED
    if not paths.in_bucket(path) and (pipe := _no_file_in(path)):
        return f"{pipe} in it is no file"
    if missing:
        return f"a part of a checkpoint, without {' and '.join(missing)}"
    return "" if str(int(path.name)) == path.name else ZEROS


def _no_file_in(folder: Path) -> str:
    """Returns the path in `folder` of a pipe or a device, which a reader would wait for without end; "" if there is none."""
    for inner, _, names in os.walk(folder):
        for path in (os.path.join(inner, name) for name in names):
            if os.path.exists(path) and not os.path.isfile(path):
                return os.path.relpath(path, folder)
    return ""
