"""Checks the disk of a run: its folder must be writable and have free space. Explains why a write failed."""

import errno
import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path

from unet_jax.errors import UserError
from unet_jax.storage import paths

# No space left; quota used up; file larger than the limit.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_writable(workdir: Path) -> None:
    """Checks that the workdir can be written.

    Makes a folder in the workdir, or in its nearest existing parent, and removes it again. In a bucket it writes an object.
    Reading the permission bits would not be enough: root ignores them, and so does a file system mounted read-only.

    Args:
      workdir: the run's folder; it may not exist yet.

    Raises:
      UserError: the workdir cannot be written.
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
        # No such bucket, or no permission: gcsfs and the libraries below it raise error classes of many kinds.
        raise UserError(
            f"--workdir={workdir} is not writable ({type(error).__name__}: {error}); check the name of the bucket, and "
            "check that the credentials may create and delete objects in it; or give another --workdir"
        ) from error


def warn_if_disk_is_small(folder: Path, size: int, latest: int, saved: int) -> None:
    """Prints a warning if the checkpoints of the run may not fit on the disk. A bucket has no limit.

    The folder holds at most the latest checkpoints, the best one, and the one that is being written.

    Args:
      folder: the folder of the checkpoints; it exists.
      size: the bytes of one state.
      latest: how many of the latest checkpoints are kept.
      saved: how many checkpoints the folder holds already.
    """
    if paths.in_bucket(folder):
        return
    count = max(latest + 2 - saved, 1)
    free = shutil.disk_usage(folder).free
    if count * size > free:
        print(
            f"warning: {folder} has {megabytes(free)} free, but up to {count} more checkpoints of {megabytes(size)} each "
            f"(before compression) will be in it at once; free some space, or keep fewer: checkpoint.latest is {latest}"
        )


def write_failure_message(number: int, folder: Path, step: int, size: int, last: int | None) -> str:
    """Returns a message: why a checkpoint could not be written, what to do, and where the run can go on from.

    Args:
      number: the system's number of the error (`errno`).
      folder: the folder of the checkpoints.
      step: the step of the checkpoint that failed.
      size: the bytes of its state.
      last: the step of the latest intact checkpoint, or None.
    """
    remedy = "make that folder writable"
    if number in FULL:
        before = ""
        if last is not None:
            before = f" (the previous checkpoint takes {megabytes(disk_usage(folder / str(last)))})"
        remedy = (
            f"its arrays are {megabytes(size)}{before}, and {megabytes(shutil.disk_usage(folder).free)} are free; "
            "free some space, or keep fewer checkpoints (checkpoint.latest)"
        )
    return f"checkpoint {step} could not be written into {folder} ({os.strerror(number)}): {remedy}; {describe_fallback(last)}"


def describe_fallback(last: int | None) -> str:
    """Returns where the run can go on from after a checkpoint could not be written, as the end of a message.

    Args:
      last: the step of the latest intact checkpoint, or None.
    """
    if last is None:
        return "there is no earlier checkpoint, so the same command starts from the beginning"
    return f"the checkpoint of step {last} is intact, and the same command goes on from it"


def disk_usage(folder: Path) -> int:
    """Returns the bytes that a folder takes on the disk, in whole blocks."""
    return sum(path.stat().st_blocks * 512 for path in (Path(folder), *Path(folder).rglob("*")))


def megabytes(size: int) -> str:
    """Returns a number of bytes as text, in MB.

    >>> megabytes(1_234_567_890)
    '1,234.57 MB'
    """
    return f"{size / 1e6:,.2f} MB"


def error_number(error: BaseException) -> int | None:
    """Returns the system's number of an error (`errno`), or None if the system did not raise it.

    TensorStore, which writes the arrays for Orbax, raises a ValueError that has the number only in its text.
    """
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"os_error_code='(\d+)'", str(error))
    return int(match[1]) if match else None
