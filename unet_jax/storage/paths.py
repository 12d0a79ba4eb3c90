"""Paths of the local disk and of a Cloud Storage bucket (`gs://BUCKET/...`), alike: `etils.epath` reads and writes both.

What a bucket does otherwise is here: nothing can be added to an object, no folder moved at once, and an object is there
whole or not at all.
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
from unet_jax.storage.write_errors import translate_bucket_error

BUCKET = "gs://"
os.environ.setdefault("EPATH_USE_TF", "false")  # epath asks TensorFlow where that is installed, which does otherwise


def resolve(path, what: str) -> Path:
    """An absolute path, `~` expanded (a shell leaves it alone in --workdir=~/run), or that of a bucket.

    Args:
      path: as the user gave it.
      what: its name in messages, such as "--workdir".

    Raises:
      UserError: it is empty, of another scheme than `gs://`, the package for buckets is missing, or the bucket cannot be
        asked.
    """
    text = os.fspath(path)
    if not text:
        raise UserError(f"{what} is empty; give a folder")
    if in_bucket(path):
        _check_bucket(text, what)
        return Path(text)
    if "://" in text:  # as a path it would be a local folder named "s3:"
        raise UserError(f"{what}={text} is no folder; give a local one, or {BUCKET}BUCKET/...")
    return absolute(text)


def absolute(path) -> Path:
    """An absolute path, `~` expanded; one in a bucket is absolute (epath would put it below the current folder).

    `..` stays: behind a link it is another folder than the one that the name before it stands in.
    """
    return Path(path) if in_bucket(path) else Path(os.path.join(os.getcwd(), os.path.expanduser(path)))


def expand(path, what: str) -> Path:
    """`resolve`, but a local path that is relative stays so: for what is only read, and named as the user named it."""
    return resolve(path, what) if "://" in os.fspath(path) else Path(path).expanduser()


def in_bucket(path) -> bool:
    """Whether it lies in a bucket, and not on a disk that this machine sees."""
    return os.fspath(path).startswith(BUCKET)


def local(path, what: str) -> Path:
    """`resolve` for what only a local folder can be used for; UserError that says so where `path` is another."""
    if in_bucket(path):
        raise UserError(f"{what}={path} is in a bucket; give a local folder")
    return resolve(path, what)


def glob(folder: Path, pattern: str) -> list[Path]:
    """The paths below a folder that fit a pattern, sorted, hidden ones left out as a shell does (`._a.png` of a Mac).

    In the folder's own name no character has a meaning.
    """
    found = Path(escape(os.fspath(folder))).glob(pattern)
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one move: a reader sees the one before or this one, a crash leaves no half. Raises OSError."""
    if in_bucket(path):
        path.write_bytes(content)
        return
    working = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # process ids repeat between machines
    try:
        working.write_bytes(content)
        working.replace(path)
    finally:
        working.unlink(missing_ok=True)


def read_if_there(path: Path) -> str:
    """What is in a file, "" where there is none. (`is_dir` of a bucket is False, too, where it cannot be asked.)"""
    try:
        return path.read_text()
    except FileNotFoundError as error:
        if told := translate_bucket_error(error):
            raise told from error
        return ""


def append(path: Path, text: str) -> None:
    """Adds to the end of a file, which need not be there; in a bucket it is written anew, with what it had."""
    if in_bucket(path):  # gcsfs has a mode "a", which drops what is there
        path.write_text(read_if_there(path) + text)
        return
    with path.open("a") as file:
        file.write(text)


def move(source: Path, target: Path) -> None:
    """Moves a folder to a place where none is; at once on a disk, in a bucket by a copy."""
    if in_bucket(source) or in_bucket(target):
        copy(source, target)
        source.rmtree()
    else:
        shutil.move(source, target)


def replace(source: Path, target: Path) -> None:
    """Moves a folder to a place where another may be; that one is back there, whole, where this fails or is interrupted."""
    if not target.exists():
        move(source, target)
        return
    old, kept = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old"), False
    try:
        if in_bucket(target):
            copy(target, old)
            kept = True
            target.rmtree()
        else:
            move(target, old)
        move(source, target)
    except BaseException:
        if kept or (old.exists() and not in_bucket(old)):  # on a disk all of it, or none
            remove(target)
            move(old, target)
        else:
            remove(old)
        raise
    remove(old)


def copy(source: Path, target: Path) -> None:
    """Copies what is in a folder, and in the folders in it."""
    for path in source.iterdir():
        if path.is_dir():
            copy(path, target / path.name)
        elif path.exists():  # the object that stands for an empty folder is listed in it, by that folder's name
            target.mkdir(parents=True, exist_ok=True)
            path.copy(target / path.name, overwrite=True)


def remove(folder: Path) -> None:
    """Removes a folder, or a link to one, as far as that can be done; a line tells where a bucket refuses."""
    if in_bucket(folder):
        try:
            folder.rmtree(missing_ok=True)
        except Exception as error:  # of the library's own kinds
            print(f"warning: {folder} could not be removed ({_first_line(error)}); it is of no use")
    elif os.path.islink(folder):
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def filling(folder: Path):
    """A local folder for a library that knows no buckets: `folder` itself, or one whose content goes there at the end."""
    if not in_bucket(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as there:
        yield Path(there)
        copy(Path(there), folder)


def _check_bucket(text: str, what: str) -> None:
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{what}={text}: the package gcsfs is not installed; pip install 'unet-jax[gcs]'")
    # What another process has written meanwhile would not be seen in a listing that is remembered.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    for library in ("gcsfs", "fsspec"):  # they log the traceback of whatever they raise
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        Path(text).stat()
    except FileNotFoundError:
        pass  # it may be made
    except Exception as error:  # of the library's own kinds, and of those of two below it
        raise UserError(
            f"{what}={text} cannot be reached ({_first_line(error)}); check the name of the bucket, and the credentials: "
            "gcloud auth application-default login, or $GOOGLE_APPLICATION_CREDENTIALS"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
