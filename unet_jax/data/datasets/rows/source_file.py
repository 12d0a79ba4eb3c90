"""A file that is read in parts and must not change in between."""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from unet_jax.errors import UserError

# Size, time of the last change in nanoseconds, and number (inode).
Mark = tuple[int, int, int]


class SourceFile:
    """A local file that is opened for each part of it that is read, and must stay what it was.

    Args:
      path: the file.

    Raises:
      OSError: there is no such file.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self._mark = mark(self.path)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Yields the open file.

        Raises:
          UserError: the file has changed since the first look at it, or while it was open.
          OSError: it cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                yield file
        except Exception:
            # What was read is no reason to call the file damaged if it was being written.
            self.check()
            raise
        self.check()

    def check(self) -> None:
        """Raises UserError if the file has changed since the first look at it."""
        try:
            same = mark(self.path) == self._mark
        except OSError:
            same = False
        if not same:
            raise changed(self.path)


def mark(path: str) -> Mark:
    """Returns what changes with the content of a file.

    Raises:
      OSError: there is no such file.
    """
    about = os.stat(path)
    return about.st_size, about.st_mtime_ns, about.st_ino


def changed(path: str) -> UserError:
    """Returns the error for a file that has changed while it was read."""
    return UserError(f"{path}: changed while it was read; wait until it is written, and start again")
