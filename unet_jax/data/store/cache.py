"""Finds the folder of prepared data, and remembers facts about files so that they are not read again."""

import contextlib
import hashlib
import json
import os
import pathlib
import stat
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage import json_file, paths
from unet_jax.storage.digests import file_sha256, json_sha256
from unet_jax.storage.paths import in_bucket

# Files that are read at the same time: a bucket needs tens of milliseconds for each request, whatever the size.
READERS = 8
# Bytes of each of the three pieces of a file that are read to see whether it has changed.
PROBE = 4096
# A file that changed within this time, in seconds, could change again without a trace: some file systems round times.
SETTLED = 2
# What a bucket says about the content of an object.
OBJECT_KEYS = ("generation", "etag", "md5Hash", "crc32c", "mtime", "updated")
REMEDY = "set data.cache_dir or $UNET_JAX_CACHE to a folder that you may write to and that has room"


def cache_folder(cache_dir: str = "") -> pathlib.Path:
    """Returns the folder of prepared data: `cache_dir`, else $UNET_JAX_CACHE, else ~/.cache/unet_jax/data.

    The folder must be local, because the library that reads the records maps local files.

    Raises:
      UserError: the folder is in a bucket, or begins with `~` where there is no home folder.
    """
    folder = cache_dir or os.environ.get("UNET_JAX_CACHE") or "~/.cache/unet_jax/data"
    if in_bucket(folder):
        raise UserError(
            f"data.cache_dir={folder} is in a bucket; set it to a local folder (the images may stay in the bucket)"
        )
    if "://" in folder:
        raise UserError(f"data.cache_dir={folder} is not a path that can be used; set it to a local folder")
    try:
        return pathlib.Path(paths.absolute(folder))
    except UserError as error:
        raise UserError(f"{error}; or {REMEDY}") from error


def stamp(path: str | Path) -> str:
    """Returns a text that changes with the file.

    Of a local file it holds the path, the size, the number (inode), the times of the last change of its content and of its
    properties, and a hash of three pieces of its content. One of them changes even where a copy keeps size and time. Of an
    object in a bucket it holds the path, the size and what the bucket says about the content.

    Raises:
      UserError: the file is missing or may not be read.
    """
    return _stamp_and_time(path)[0]


def file_digests(paths: Iterable[str | Path], cache_dir: str = "") -> dict[str, str]:
    """Returns the sha256 of each file's contents by path.

    The digests are kept in `CACHE/digests.json`, and a file is read again only if its `stamp` has changed. The digest of a
    file that changed less than 2 s ago is not kept: the file could change again with the same size and time.

    Args:
      paths: the files, local or in a bucket, and folders of local Zarr arrays.
      cache_dir: folder of prepared data, see `cache_folder`.

    Raises:
      UserError: a file cannot be read.
    """
    memo_path = _memo_path(cache_dir)
    memo = _read_memo(memo_path)

    def digest_one(path: str) -> tuple[str, str, bool]:
        now, (file_stamp, changed) = time.time(), _stamp_and_time(path)
        known_stamp, known_digest = memo.get(_absolute(path), ("", ""))
        if known_stamp == file_stamp:
            return file_stamp, known_digest, False
        try:
            digest = _content_digest(path)
        except OSError as error:
            raise read_error(path, error) from error
        return file_stamp, digest, abs(now - changed) > SETTLED and stamp(path) == file_stamp

    listed = list(map(str, paths))
    with ThreadPoolExecutor(READERS) as pool:
        digests = list(pool.map(digest_one, listed))
    fresh = {
        _absolute(path): [text, digest] for path, (text, digest, keep) in zip(listed, digests, strict=True) if keep
    }
    if fresh:
        # Without them the files are read again next time. A cache that others have prepared may be read-only.
        with contextlib.suppress(UserError):
            write_checked(memo_path, _read_memo(memo_path) | fresh)
    return {path: digest for path, (_, digest, _) in zip(listed, digests, strict=True)}


def forget_digests(cache_dir: str = "") -> None:
    """Makes the next `file_digests` read every file again.

    Raises:
      UserError: the digests cannot be removed.
    """
    memo_path = _memo_path(cache_dir)
    try:
        memo_path.unlink(missing_ok=True)
    except NotADirectoryError:
        # There is no such folder, so nothing is remembered there.
        pass
    except OSError as error:
        raise cache_write_error(memo_path, error) from error


def _absolute(path: str) -> str:
    return path if in_bucket(path) else os.path.abspath(path)


def _memo_path(cache_dir: str) -> pathlib.Path:
    return cache_folder(cache_dir) / "digests.json"


def _read_memo(path: pathlib.Path) -> dict[str, tuple[str, str]]:
    """Returns (stamp, digest) by path, without entries of another form."""
    memo = {}
    for file, entry in read_checked(path).items():
        if isinstance(entry, list) and len(entry) == 2 and all(isinstance(text, str) for text in entry):
            memo[file] = (entry[0], entry[1])
    return memo


def _stamp_and_time(path: str | Path) -> tuple[str, float]:
    """Returns the `stamp` of a file, and the time of its last change in seconds."""
    try:
        if in_bucket(path):
            about = fsspec.filesystem("gs").info(os.fspath(path))
            known = [f"{key}={about[key]}" for key in OBJECT_KEYS if about.get(key)]
            # Each content of an object has a generation, so there the time does not matter.
            changed = 0 if about.get("generation") else Path(path).stat().mtime
            return "|".join([str(path), str(about["size"]), *known]), changed
        text = os.path.abspath(path)
        if _is_array(text):
            stamps = [_stamp_and_time(file) for file in _files_of(text)]
            listed = json_sha256([each for each, _ in stamps])
            return "|".join([text, listed]), max((changed for _, changed in stamps), default=os.stat(text).st_mtime)
        about_file = os.stat(text)
        if not stat.S_ISREG(about_file.st_mode):
            # To open a pipe would wait for a writer.
            raise OSError("is not a file")
        probe, last = hashlib.sha256(), max(about_file.st_size - PROBE, 0)
        # A file object takes three times as long, and there are four stamps of each file.
        file = os.open(text, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            for place in (0, last // 2, last):
                os.lseek(file, place, os.SEEK_SET)
                probe.update(os.read(file, PROBE))
        finally:
            os.close(file)
    except OSError as error:
        raise read_error(path, error) from error
    numbers = (about_file.st_size, about_file.st_ino, about_file.st_mtime_ns, about_file.st_ctime_ns)
    return "|".join(map(str, (text, *numbers, probe.hexdigest()))), max(about_file.st_mtime, about_file.st_ctime)


def _is_array(path: str | Path) -> bool:
    """Returns True for the local folder of a Zarr array, which is taken for one file."""
    return not in_bucket(path) and os.fspath(path).lower().endswith(".zarr") and os.path.isdir(path)


def _files_of(folder: str | Path) -> list[str]:
    """Returns the files of a Zarr array, sorted."""
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)


def _content_digest(path: str | Path) -> str:
    """Returns the sha256 of a file, or of all files of a Zarr array and their names in it."""
    if not _is_array(path):
        return file_sha256(path)
    return json_sha256([[os.path.relpath(file, path), file_sha256(file)] for file in _files_of(path)])


def remember(key: str, compute: Callable[[], dict[str, Any]], cache_dir: str = "") -> dict[str, Any]:
    """Returns the result of `compute`, which is called once and then read from the cache.

    Args:
      key: name of the result in the cache; must change with everything that the result depends on.
      compute: returns a dict that can be written as JSON. An empty one is not kept.
      cache_dir: folder of prepared data, see `cache_folder`.

    Raises:
      UserError: the cache cannot be written.
    """
    path = cache_folder(cache_dir) / "facts" / f"{key}.json"
    facts = read_checked(path)
    if not facts:
        facts = compute()
        write_checked(path, facts)
    return facts


def read_error(path: str | Path, error: OSError) -> UserError:
    """Returns the error for a file that is missing or may not be read."""
    return UserError(
        f"{path}: cannot be read ({error.strerror or error}); check that it exists and that you may read it"
    )


def cache_write_error(folder: str | Path, error: OSError) -> UserError:
    """Returns the error for a folder of prepared data that cannot be created or written to."""
    return UserError(f"{folder}: prepared data cannot be written there ({error.strerror or error}); {REMEDY}")


def read_checked(path: pathlib.Path) -> dict[str, Any]:
    """Returns what `write_checked` wrote, or {} if there is no such file or it holds anything else."""
    try:
        stored = json.loads(paths.read_file(path))
        value = stored["value"]
        return value if isinstance(value, dict) and stored["sha256"] == _sha256(path, value) else {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


def _sha256(path: pathlib.Path, value: dict[str, Any]) -> str:
    """Returns the sha256 of a value and of the file's name: one file of the cache in the place of another is not taken."""
    return json_sha256([path.name, value])


def write_checked(path: pathlib.Path, value: dict[str, Any]) -> None:
    """Writes a value with its sha256, so that a torn or foreign file is never taken for one.

    Args:
      path: the file; its folder is made if it does not exist.
      value: what JSON can hold.

    Raises:
      UserError: the file cannot be written.
    """
    # As it will be read: the keys become texts.
    value = json.loads(json.dumps(value))
    try:
        json_file.write(path, {"value": value, "sha256": _sha256(path, value)})
    except OSError as error:
        raise cache_write_error(path.parent, error) from error
