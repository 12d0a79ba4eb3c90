"""Checks the disk under a run: that its folder can be written and has room; says why a write failed."""

import errno
import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path

from unet_jax.errors import UserError
from unet_jax.storage import paths

# No space is left; the quota is used up; a file is larger than its limit.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_writable(workdir: Path) -> None:
    """Checks that the workdir can be written, by making a folder in it, or in its nearest parent, and removing it again.

    In a bucket it writes an object. Permission bits would not do: they mean nothing to root, nor on a file system that is
    mounted read-only.

    Raises:
      UserError: nothing can be written there.
    """
    if paths.in_bucket(workdir):
        _check_bucket_writable(workdir)
        return
    nearest = next(path for path in (workdir, *workdir.parents) if path.exists())
    what = "is not writable" if nearest == workdir else "cannot be made"
    if not nearest.is_dir():
        raise UserError(f"--workdir={workdir} {what}: {nearest} is a file; give the path of a folder")
    folders = [nearest]
    if (workdir / "checkpoints").is_dir():
        folders.append(workdir / "checkpoints")
    for folder in folders:
        try:
            with tempfile.TemporaryDirectory(prefix=".unet_jax_", dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"--workdir={workdir} {what}: nothing can be written into {folder} ({error.strerror}); "
                "make that writable, or give another --workdir"
            ) from error


def _check_bucket_writable(workdir: Path) -> None:
    probe = workdir / f".unet_jax_{uuid.uuid4().hex}"
    try:
        probe.write_text("")
        probe.unlink()
    except Exception as error:
        # No such bucket, or no permission: the libraries below have classes of their own for it.
        raise UserError(
            f"--workdir={workdir} is not writable ({type(error).__name__}: {error}); check the name of the bucket, and that "
            "the credentials may create and delete objects there, or give another --workdir"
        ) from error


def warn_if_disk_is_small(folder: Path, size: int, latest: int, saved: int) -> None:
    """Prints a warning where the checkpoints still to come may not fit on the disk; a bucket has no limit.

    At most the latest ones, the best, and the one being written lie there at once.

    Args:
      folder: the folder of the checkpoints; it exists.
      size: the bytes of one state.
      latest: how many of the latest checkpoints are kept.
      saved: how many checkpoints lie there already.
    """
    if paths.in_bucket(folder):
        return
    count = max(latest + 2 - saved, 1)
    free = shutil.disk_usage(folder).free
    if count * size > free:
        print(
            f"warning: {folder} has {megabytes(free)} free, and up to {count} more checkpoints of {megabytes(size)} each "
            f"(before compression) will lie there at once; make room, or keep fewer: checkpoint.latest is {latest}"
        )


def write_failure_message(number: int, folder: Path, step: int, size: int, last: int | None) -> str:
    """Returns why a checkpoint could not be written, what to do, and from where the run can go on.

    Args:
      number: the system's number of the error.
      folder: the folder of the checkpoints.
      step: the step of the checkpoint that failed.
      size: the bytes of its state.
      last: the step of the latest checkpoint that is whole, or None.
    """
    remedy = "make that folder writable"
    if number in FULL:
        before = ""
        if last is not None:
            before = f" (the one before takes {megabytes(disk_usage(folder / str(last)))})"
        remedy = (
            f"its arrays are {megabytes(size)}{before}, and {megabytes(shutil.disk_usage(folder).free)} are free; make "
            "room, or keep fewer (checkpoint.latest)"
        )
    return f"checkpoint {step} could not be written into {folder} ({os.strerror(number)}): {remedy}; {describe_fallback(last)}"


def describe_fallback(last: int | None) -> str:
    """Returns from where the run goes on when a checkpoint could not be written; `last` is the step of the one before."""
    if last is None:
        return "there is none before it, so the same command starts from the beginning"
    return f"the last good one, of step {last}, is intact, and the same command goes on from there"


def disk_usage(folder: Path) -> int:
    """Returns the bytes that a folder takes on the disk, where a small file takes a whole block."""
    return sum(path.stat().st_blocks * 512 for path in (Path(folder), *Path(folder).rglob("*")))


def megabytes(size: int) -> str:
    """Returns a number of bytes as text, in MB."""
    return f"{size / 1e6:,.2f} MB"


def error_number(error: BaseException) -> int | None:
    """Returns the system's number of an error (`errno`), or None where the system did not raise it.

    The library that writes arrays under Orbax raises a ValueError that has the number in its text alone.
    """
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"os_error_code='(\d+)'", str(error))
    return int(match[1]) if match else None
