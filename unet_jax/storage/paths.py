"""Treats paths of the local disk and of a Cloud Storage bucket (`gs://BUCKET/...`) alike, through `etils.epath`.

A bucket differs from a disk in three ways, which this file hides: nothing can be appended to an object; a folder cannot be
moved in one operation; an object is complete as soon as it exists.
"""

import contextlib
import errno
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from glob import escape

import fsspec
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage.write_errors import first_line, translate_bucket_error

# A path as a user or a caller gives it.
PathLike = str | os.PathLike[str]

BUCKET = "gs://"

# Without this setting epath uses TensorFlow where that is installed, and TensorFlow behaves differently.
os.environ.setdefault("EPATH_USE_TF", "false")


def resolve(path: PathLike, what: str) -> Path:
    """Checks a path that a user gave, and returns it as an absolute path or as the path of a bucket.

    Expands `~` (`home_expanded`), because a shell does not expand it in --workdir=~/run.

    Args:
      path: as the user gave it.
      what: its name in messages, such as "--workdir".

    Raises:
      UserError: the path is empty; it is a link whose target is gone; its scheme is not `gs://`; the package for buckets is
        not installed; or the bucket cannot be reached.
    """
    text = os.fspath(path)
    if not text:
        raise UserError(f"{what} is empty; give a path")
    if in_bucket(path):
        _check_bucket_reachable(text, what)
        return Path(text)
    if "://" in text:
        # A local path would make a folder named "s3:".
        raise UserError(f"{what}={text} is not a path that can be used; give a local folder, or {BUCKET}BUCKET/...")
    return _checked(absolute(text), what)


def absolute(path: PathLike) -> Path:
    """Returns an absolute path with `~` expanded and without `..`. The path of a bucket stays as it is.

    Behind a symbolic link, `..` leads to the parent of the link's target, not to the parent of the link.

    >>> print(absolute("/runs/a/../b"), absolute("gs://bucket/run"))
    /runs/b gs://bucket/run

    Raises:
      UserError: the path begins with `~`, and there is no home folder; or it is relative, and the current folder is removed.
    """
    if in_bucket(path):
        # Joined with the current folder, it would become a local path.
        return Path(path)
    text = home_expanded(path)
    if not os.path.isabs(text):
        try:
            text = os.path.join(os.getcwd(), text)
        except FileNotFoundError as error:
            raise UserError(f"{text}: the current folder does not exist any more; change to one that does") from error
    return _without_dots(_local(text))


def expand(path: PathLike, what: str) -> Path:
    """Does what `resolve` does, but leaves a relative path relative, so that messages name the file as the user did.

    A path with `..` becomes absolute.

    Args:
      path: as the user gave it.
      what: its name in messages.

    Raises:
      UserError: the path is empty, or a link whose target is gone; or as for `resolve`, for a path with `://`.
    """
    text = os.fspath(path)
    return resolve(path, what) if not text or "://" in text else _checked(_without_dots(to_path(text)), what)


def _checked(path: Path, what: str) -> Path:
    """Returns the path; raises UserError if it is or lies in a link whose target is gone: nothing can be read or made there."""
    for place in (path, *path.parents):
        if os.path.islink(place) and not os.path.exists(place):
            here = f"{what}={path}" if place == path else f"{what}={path}: {place}"
            raise UserError(
                f"{here} is a link to {os.readlink(place)}, which does not exist; make that, or give another path"
            )
    return path


def to_path(path: PathLike) -> Path:
    """Returns a path with `~` expanded, and otherwise as it is. Checks nothing else.

    Raises:
      UserError: the path begins with `~`, and there is no home folder.
    """
    return Path(path) if in_bucket(path) else _local(home_expanded(path))


def home_expanded(path: PathLike) -> str:
    """Returns the text of a path, with `~` or `~NAME` at its beginning replaced by the home folder of the user.

    `~` is always the home folder. `~NAME` stays as it is if there is such a file or folder, or no such user.

    Raises:
      UserError: the path begins with `~`, and there is no home folder, as in some containers.
    """
    text = os.fspath(path)
    first = text.partition("/")[0]
    if not first.startswith("~") or (first != "~" and os.path.lexists(first)):
        return text
    expanded = os.path.expanduser(text)
    if first == "~" and (os.environ.get("HOME") == "" or not os.path.isabs(expanded)):
        raise UserError(f"{text}: there is no home folder; set $HOME, or give the path without ~")
    return expanded


def _local(text: str) -> Path:
    """Returns the path of a text that means a path on a disk."""
    # epath takes a:// for a bucket.
    path = Path(text.replace("://", ":/"))
    # And the folders /gs, /s3, /az and /hf, but not //gs, which is the same folder.
    return Path(f"/{text}") if "://" in os.fspath(path) else path


def _without_dots(path: Path) -> Path:
    return real(path) if ".." in path.parts else path


def real(path: Path) -> Path:
    """Returns a path with all links followed, so that it stays the same when a link is led elsewhere."""
    return path if in_bucket(path) else _local(os.path.realpath(path))


def in_bucket(path: PathLike) -> bool:
    """Returns True for a path in a bucket, False for a path on a disk of this machine."""
    return os.fspath(path).startswith(BUCKET)


def resolve_local(path: PathLike, what: str) -> Path:
    """Does what `resolve` does, for a path that must be local.

    Args:
      path: as the user gave it.
      what: its name in messages.

    Raises:
      UserError: the path is in a bucket; or as for `resolve`.
    """
    if in_bucket(path):
        raise UserError(f"{what}={path} is in a bucket; give a local folder")
    return resolve(path, what)


def glob(folder: Path, pattern: str) -> list[Path]:
    """Returns the sorted paths below a folder that match a pattern, without hidden ones such as `._a.png` from a Mac.

    `*`, `?` and `[` are special in the pattern only, not in the name of the folder.
    """
    paths = Path(escape(os.fspath(folder))).glob(pattern)
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def is_below(path: Path, folder: Path) -> bool:
    """Returns True if `path`, which need not exist, is below an existing folder, by whatever name or link."""
    if in_bucket(path) or in_bucket(folder):
        return f"{path}/".startswith(f"{folder}/")
    real = Path(os.path.realpath(path))
    # Compared by the file system, which may ignore case, and may mount a folder in two places.
    return any(is_same(parent, folder) for parent in (real, *real.parents))


def is_same(path: Path, other: Path) -> bool:
    """Returns True if both paths lead to one file or folder that exists."""
    if in_bucket(path) or in_bucket(other):
        return path == other
    return path.exists() and other.exists() and os.path.samefile(path, other)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one move. A reader sees the old content or the new; a crash never leaves half a file.

    Raises:
      OSError: the file cannot be written.
    """
    if in_bucket(path):
        path.write_bytes(content)
        return
    working = working_path(path)
    with naming(path):
        try:
            working.write_bytes(content)
            working.replace(path)
        finally:
            working.unlink(missing_ok=True)


def working_path(path: Path) -> Path:
    """Returns a hidden path beside `path`, another one at each call, for what is written first and then moved to `path`.

    A process that is killed leaves it; see `remove_leftovers`.
    """
    # Not the process id: two machines may have the same one.
    # Without the name of the file, which may have the greatest length already.
    return path.with_name(f".{_name_digest(path.name)}{uuid.uuid4().hex[:16]}")


def remove_leftovers(targets: Mapping[str, Iterable[str]]) -> None:
    """Removes what a process that was killed had not yet moved to a name; see `working_path`.

    Args:
      targets: names by their folder. What a process is writing to one of them right now is lost to it.

    Raises:
      OSError: something cannot be removed.
    """
    for folder, names in ((to_path(text), names) for text, names in targets.items()):
        if in_bucket(folder) or not folder.is_dir():
            continue
        digests = set(map(_name_digest, names))
        for name in os.listdir(folder):
            if re.fullmatch(r"\.[0-9a-f]{32}(\.tiles)?", name) and name[1:17] in digests:
                left = folder / name
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink(missing_ok=True)


def _name_digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an `OSError` the name of the file that cannot be written: a full disk gives none, a file made for a moment its own."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def create_whole(path: Path, content: bytes) -> bool:
    """Writes a file only if there is none. Of several calls at once, from any machine, exactly one makes the file.

    Returns:
      True if this call has made the file, False if it was there.

    Raises:
      OSError: the file cannot be written.
    """
    if in_bucket(path):
        try:
            fsspec.filesystem("gcs").pipe_file(os.fspath(path), content, mode="create")
        except FileExistsError:
            return False
        return True
    working = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        working.write_bytes(content)
        try:
            os.link(working, path)
        except FileExistsError:
            # Over NFS the answer may be lost and the request repeated; the number of links tells who made the file.
            return os.stat(working).st_nlink > 1
        except OSError:
            return _create_in_place(path, content)
        return True
    finally:
        working.unlink(missing_ok=True)


def _create_in_place(path: Path, content: bytes) -> bool:
    """Does what `create_whole` does on a file system without hard links; a reader may see the file while it is written."""
    try:
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def read_file(path: PathLike) -> bytes:
    """Returns the content of a file. What is no regular file is an error: a named pipe would be waited for, for ever.

    Raises:
      OSError: there is no such file, it cannot be read, or it is no regular file.
    """
    if in_bucket(path):
        return Path(path).read_bytes()
    # The functions of the system, because those of epath take as long as reading a small file does.
    text = os.fspath(path)
    mode = os.stat(text).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "a pipe, a socket or a device, not a file", text)
    with open(text, "rb") as file:
        return file.read()


def read_if_there(path: Path, errors: str = "strict") -> str:
    """Returns the text of a file, or "" if there is no such file.

    Args:
      path: the file.
      errors: what to do with bytes that are not UTF-8; see `bytes.decode`.

    Raises:
      UserError: the bucket cannot be reached. (`is_dir` returns False in that case, as for a missing folder.)
      OSError: as `read_file`; or the file is a link whose target is gone.
    """
    try:
        return read_file(path).decode(errors=errors)
    except FileNotFoundError as error:
        if bucket_error := translate_bucket_error(error):
            raise bucket_error from error
        if not in_bucket(path) and os.path.islink(path):
            raise OSError("a link whose target is gone") from error
        return ""


def append(path: Path, text: str) -> None:
    """Adds text to the end of a file, which may not exist yet. In a bucket it writes the whole object again."""
    if in_bucket(path):
        # The mode "a" of gcsfs loses the old content.
        path.write_text(read_if_there(path) + text)
        return
    with naming(path), path.open("a") as file:
        file.write(text)


def move(source: Path, target: Path) -> None:
    """Moves a folder to a path that does not exist yet. On a disk that is one operation; in a bucket the files are copied."""
    if in_bucket(source) or in_bucket(target):
        copy(source, target)
        source.rmtree()
    else:
        shutil.move(source, target)


def replace(source: Path, target: Path) -> None:
    """Moves a folder to a path, where it replaces an older folder if there is one.

    If the move fails or is interrupted, the older folder is put back complete.
    """
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
        # A move on a disk is one operation, so `old` is complete if it exists.
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
            # The test leaves out the object that marks an empty folder; the folder lists it under its own name.
            target.mkdir(parents=True, exist_ok=True)
            path.copy(target / path.name, overwrite=True)


def remove(folder: Path) -> None:
    """Removes a folder, or a link to one, as far as possible. Prints a warning if a bucket refuses."""
    if in_bucket(folder):
        try:
            folder.rmtree(missing_ok=True)
        except Exception as error:
            # gcsfs and the libraries below it raise error classes of many kinds.
            print(f"warning: {folder} could not be removed ({first_line(error)}); delete it, nothing needs it")
    elif os.path.islink(folder):
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def via_local_folder(folder: Path) -> Iterator[Path]:
    """Yields a local folder for a library that cannot write into buckets.

    That is `folder` itself if it is local. Otherwise it is a temporary folder, whose files are copied to `folder` at the end.
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
    # A cached listing would not show what another process has written in the meantime.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    # These two log the traceback of every error that they raise.
    for library in ("gcsfs", "fsspec"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        Path(text).stat()
    except FileNotFoundError:
        # The folder may be made later.
        pass
    except Exception as error:
        # gcsfs and the libraries below it raise error classes of many kinds.
        raise UserError(
            f"{what}={text} cannot be reached ({first_line(error)}); check the name of the bucket, and the credentials "
            "(gcloud auth application-default login, or $GOOGLE_APPLICATION_CREDENTIALS)"
        ) from error
