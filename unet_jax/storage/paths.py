"""Treats paths of the local disk and of a Cloud Storage bucket (`gs://BUCKET/...`) alike, through `etils.epath`.

A bucket differs in three ways, which this file hides: an object cannot be appended to, a folder cannot be moved at once,
and an object exists whole or not at all.
"""

import contextlib
import importlib.util
import logging
import os
import shutil
import tempfile
import uuid
from glob import escape

import fsspec
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage.write_errors import first_line, translate_bucket_error

BUCKET = "gs://"
# Without it, epath uses TensorFlow where that is installed, which behaves differently.
os.environ.setdefault("EPATH_USE_TF", "false")


def resolve(path, what: str) -> Path:
    """Returns a user's path as an absolute path or as that of a bucket, after checking it.

    Expands `~`, which a shell leaves alone in --workdir=~/run.

    Args:
      path: as the user gave it.
      what: its name in messages, such as "--workdir".

    Raises:
      UserError: it is empty or has another scheme than `gs://`, the package for buckets is not installed, or the bucket
        cannot be reached.
    """
    text = os.fspath(path)
    if not text:
        raise UserError(f"{what} is empty; give a folder")
    if in_bucket(path):
        _check_bucket_reachable(text, what)
        return Path(text)
    if "://" in text:
        # As a path it would be a local folder named "s3:".
        raise UserError(f"{what}={text} is no folder; give a local one, or {BUCKET}BUCKET/...")
    return absolute(text)


def absolute(path) -> Path:
    """Returns an absolute path with `~` expanded, without any check; a path in a bucket is absolute already.

    Keeps `..`: after a link to a folder it is not the folder that the link lies in.
    """
    if in_bucket(path):
        # epath would put it below the current folder.
        return Path(path)
    return Path(os.path.join(os.getcwd(), os.path.expanduser(path)))


def expand(path, what: str) -> Path:
    """Like `resolve`, but a relative path stays relative: for files that messages name as the user did."""
    return resolve(path, what) if "://" in os.fspath(path) else Path(path).expanduser()


def in_bucket(path) -> bool:
    """Returns whether a path lies in a bucket, not on a disk of this machine."""
    return os.fspath(path).startswith(BUCKET)


def resolve_local(path, what: str) -> Path:
    """Like `resolve`, for what works in a local folder alone; raises UserError where `path` is in a bucket."""
    if in_bucket(path):
        raise UserError(f"{what}={path} is in a bucket; give a local folder")
    return resolve(path, what)


def glob(folder: Path, pattern: str) -> list[Path]:
    """Returns the sorted paths below a folder that match a pattern, without hidden ones such as a Mac's `._a.png`.

    `*`, `?` and `[` have a meaning in the pattern only, not in the name of the folder.
    """
    paths = Path(escape(os.fspath(folder))).glob(pattern)
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one move: a reader sees the old content or the new, and a crash leaves no half. Raises OSError."""
    if in_bucket(path):
        path.write_bytes(content)
        return
    # Not a process id: those repeat between machines.
    working = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        working.write_bytes(content)
        working.replace(path)
    finally:
        working.unlink(missing_ok=True)


def read_if_there(path: Path) -> str:
    """Returns the text of a file, "" where there is none; raises UserError where a bucket cannot be reached.

    (`is_dir` of a bucket is False in both cases.)
    """
    try:
        return path.read_text()
    except FileNotFoundError as error:
        if bucket_error := translate_bucket_error(error):
            raise bucket_error from error
        return ""


def append(path: Path, text: str) -> None:
    """Adds text to the end of a file, which may not exist yet; in a bucket by writing the whole object again."""
    if in_bucket(path):
        # gcsfs has a mode "a", but it loses the old content.
        path.write_text(read_if_there(path) + text)
        return
    with path.open("a") as file:
        file.write(text)


def move(source: Path, target: Path) -> None:
    """Moves a folder to a path that does not exist: at once on a disk, in a bucket by copying it."""
    if in_bucket(source) or in_bucket(target):
        copy(source, target)
        source.rmtree()
    else:
        shutil.move(source, target)


def replace(source: Path, target: Path) -> None:
    """Moves a folder to a path where another may be; puts that one back, whole, if this fails or is interrupted."""
    if not target.exists():
        move(source, target)
        return
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    copied = False
    try:
        if in_bucket(target):
            copy(target, old)
            copied = True
            target.rmtree()
        else:
            move(target, old)
        move(source, target)
    except BaseException:
        # On a disk, where a move is done at once, `old` is whole if it exists.
        if copied or (old.exists() and not in_bucket(old)):
            remove(target)
            move(old, target)
        else:
            remove(old)
        raise
    remove(old)


def copy(source: Path, target: Path) -> None:
    """Copies the files of a folder and of all folders below it."""
    for path in source.iterdir():
        if path.is_dir():
            copy(path, target / path.name)
        elif path.exists():
            # Not the object that stands for an empty folder, which is listed in it by the folder's name.
            target.mkdir(parents=True, exist_ok=True)
            path.copy(target / path.name, overwrite=True)


def remove(folder: Path) -> None:
    """Removes a folder, or a link to one, as far as possible; prints a warning where a bucket refuses."""
    if in_bucket(folder):
        try:
            folder.rmtree(missing_ok=True)
        except Exception as error:
            # Of the library's own classes.
            print(f"warning: {folder} could not be removed ({first_line(error)}); it is of no use")
    elif os.path.islink(folder):
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def via_local_folder(folder: Path):
    """Yields a local folder for a library that cannot write into buckets.

    It is `folder` itself or, where that is in a bucket, a temporary one whose files are copied there at the end.
    """
    if not in_bucket(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
        copy(Path(temporary), folder)


def _check_bucket_reachable(text: str, what: str) -> None:
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{what}={text}: the package gcsfs is not installed; pip install 'unet-jax[gcs]'")
    # A cached listing would not show what another process has written since.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    # They log the traceback of every error that they raise.
    for library in ("gcsfs", "fsspec"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        Path(text).stat()
    except FileNotFoundError:
        # It may be made later.
        pass
    except Exception as error:
        # Of the library's own classes, or of two libraries below it.
        raise UserError(
            f"{what}={text} cannot be reached ({first_line(error)}); check the name of the bucket, and the credentials: "
            "gcloud auth application-default login, or $GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
