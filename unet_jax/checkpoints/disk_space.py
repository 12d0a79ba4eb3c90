"""The disk under a run: whether its folder can be written, whether it has room, and why a write failed."""

import errno
import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path

from unet_jax.errors import UserError
from unet_jax.storage import paths

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space left; the quota, or the limit of a file's size, reached


def check_writable(workdir: Path) -> None:
    """Makes a folder in the workdir, or in the one where it would be made, and removes it again; in a bucket an object.

    Permission bits would not tell: they mean nothing to root, nor to a file system that is mounted read-only.

    Raises:
      UserError: nothing can be made there.
    """
    if paths.in_bucket(workdir):
        _check_bucket(workdir)
        return
    there = next(path for path in (workdir, *workdir.parents) if path.exists())
    what = "is not writable" if there == workdir else "cannot be made"
    if not there.is_dir():
        raise UserError(f"--workdir={workdir} {what}: {there} is a file; give the path of a folder")
    inside = there / "checkpoints"
    for folder in (there, inside) if there == workdir and inside.is_dir() else (there,):
        try:
            with tempfile.TemporaryDirectory(prefix=".unet_jax_", dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"--workdir={workdir} {what}: nothing can be written into {folder} ({error.strerror}); "
                "make that writable, or give another --workdir"
            ) from error


def _check_bucket(workdir: Path) -> None:
    probe = workdir / f".unet_jax_{uuid.uuid4().hex}"
    try:
        probe.write_text("")
        probe.unlink()
    except Exception as error:  # no bucket, no permission: of kinds of the libraries below
        raise UserError(
            f"--workdir={workdir} is not writable ({type(error).__name__}: {error}); check the name of the bucket, and that "
            "the credentials may create and delete objects there, or give another --workdir"
        ) from error


def warn_of_little_room(folder: Path, size: int, latest: int, there: int) -> None:
    """Prints a line where the checkpoints that are still to come may not fit on the disk; a bucket takes all.

    At most so many lie there at once: the latest, the best, and the one being written.

    Args:
      folder: of the checkpoints; it is there.
      size: of a state, in bytes.
      latest: how many of the latest are kept.
      there: how many lie there already.
    """
    if paths.in_bucket(folder):
        return
    count = max(latest + 2 - there, 1)
    free = shutil.disk_usage(folder).free
    if count * size > free:
        print(
            f"warning: {folder} has {megabytes(free)} free, and up to {count} more checkpoints of {megabytes(size)} each "
            f"(before compression) will lie there at once; make room, or keep fewer: checkpoint.latest is {latest}"
        )


def write_failure_message(number: int, folder: Path, step: int, size: int, last: int | None) -> str:
    """Why a checkpoint could not be written, what to do, and what is left.

    Args:
      number: the system's, of the error.
      folder: of the checkpoints.
      step: of the one that failed.
      size: of its state, in bytes.
      last: the step of the latest that is there, or None.
    """
    remedy = "make that folder writable"
    if number in FULL:
        before = f" (the one before takes {megabytes(disk_usage(folder / str(last)))})" if last is not None else ""
        remedy = (
            f"its arrays are {megabytes(size)}{before}, and {megabytes(shutil.disk_usage(folder).free)} are free; make "
            "room, or keep fewer (checkpoint.latest)"
        )
    return f"checkpoint {step} could not be written into {folder} ({os.strerror(number)}): {remedy}; {describe_fallback(last)}"


def describe_fallback(last: int | None) -> str:
    """What there is to go on from where a checkpoint could not be written; `last` is the step of the one before."""
    if last is None:
        return "there is none before it, so the same command starts from the beginning"
    return f"the last good one, of step {last}, is intact, and the same command goes on from there"


def disk_usage(folder: Path) -> int:
    """Bytes that a folder takes on the disk, where a small file takes a whole block."""
    return sum(path.stat().st_blocks * 512 for path in (Path(folder), *Path(folder).rglob("*")))


def megabytes(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 1e6:,.2f} MB"


def error_number(error: BaseException) -> int | None:
    """The system's number of an error (`errno`), or None where it came from elsewhere.

    The library that writes arrays under Orbax raises a ValueError, with the number in its text alone.
    """
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None
