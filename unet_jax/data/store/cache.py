"""Finds the folder of prepared data, and remembers facts about files so that they are not read again."""

import json
import os
import pathlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage import json_file
from unet_jax.storage.digests import file_sha256
from unet_jax.storage.paths import in_bucket

# Files that are read at the same time: a bucket needs tens of milliseconds for each request, whatever the size.
READERS = 8


def cache_folder(cache_dir: str = "") -> pathlib.Path:
    """Returns the folder of prepared data: `cache_dir`, else $UNET_JAX_CACHE, else ~/.cache/unet_jax/data.

    The folder must be local, because the library that reads the records maps local files.

    Raises:
      UserError: the folder is in a bucket.
    """
    folder = cache_dir or os.environ.get("UNET_JAX_CACHE") or "~/.cache/unet_jax/data"
    if in_bucket(folder):
        raise UserError(
            f"data.cache_dir={folder} is in a bucket; set it to a local folder (the images may stay in the bucket)"
        )
    return pathlib.Path(folder).expanduser()


def stamp(path: str | Path) -> str:
    """Returns a text that changes with the file. It holds the path, the size and the time of the last change.

    Raises:
      UserError: the file is missing or may not be read.
    """
    return _stamp_and_time(path)[0]


def file_digests(paths: Iterable[str | Path], cache_dir: str = "") -> dict[str, str]:
    """Returns the sha256 of each file's contents by path.

    The digests are kept in `CACHE/digests.json`, and a file is read again only if its `stamp` has changed. The digest of a
    file that changed less than 2 s ago is not kept: the file could change again with the same size and time.

    Args:
      paths: the files, local or in a bucket.
      cache_dir: folder of prepared data, see `cache_folder`.

    Raises:
      UserError: a file cannot be read, or the digests cannot be written.
    """
    memo_path = cache_folder(cache_dir) / "digests.json"
    memo = _read_json(memo_path)

    def digest_one(path: str) -> tuple[str, str, bool]:
        now, (file_stamp, changed) = time.time(), _stamp_and_time(path)
        try:
            return file_stamp, memo.get(file_stamp) or file_sha256(path), abs(now - changed) > 2
        except OSError as error:
            raise read_error(path, error) from error

    listed = list(map(str, paths))
    with ThreadPoolExecutor(READERS) as pool:
        digests = list(pool.map(digest_one, listed))
    fresh = {file_stamp: digest for file_stamp, digest, settled in digests if settled and file_stamp not in memo}
    if fresh:
        _write_json(memo_path, _read_json(memo_path) | fresh)
    return {path: digest for path, (_, digest, _) in zip(listed, digests, strict=True)}


def _stamp_and_time(path: str | Path) -> tuple[str, float]:
    """Returns the `stamp` of a file, and the time of its last change in seconds."""
    try:
        if in_bucket(path):
            stat = Path(path).stat()
            return f"{path}|{stat.length}|{stat.mtime}", stat.mtime
        stat = os.stat(path)
        return f"{os.path.abspath(path)}|{stat.st_size}|{stat.st_mtime_ns}", stat.st_mtime
    except OSError as error:
        raise read_error(path, error) from error


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
    facts = _read_json(path)
    if not facts:
        facts = compute()
        _write_json(path, facts)
    return facts


def read_error(path: str | Path, error: OSError) -> UserError:
    """Returns the error for a file that is missing or may not be read."""
    return UserError(
        f"{path}: cannot be read ({error.strerror or error}); check that it exists and that you may read it"
    )


def cache_write_error(folder: str | Path, error: OSError) -> UserError:
    """Returns the error for a folder of prepared data that cannot be created or written to."""
    return UserError(
        f"{folder}: prepared data cannot be written there ({error.strerror or error}); "
        "set data.cache_dir or $UNET_JAX_CACHE to a folder that you may write to"
    )


def _read_json(path: pathlib.Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _write_json(path: pathlib.Path, value: dict) -> None:
    try:
        json_file.write(path, value)
    except OSError as error:
        raise cache_write_error(path.parent, error) from error
