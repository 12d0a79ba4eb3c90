"""The data folder: where prepared data lie, and what is remembered of files so that they are not read again."""

import json
import os
import pathlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage import json_file
from unet_jax.storage.digests import file_sha256
from unet_jax.storage.paths import in_bucket

READERS = 8  # files at once: a bucket answers each in tens of milliseconds, whatever the size


def cache_folder(cache_dir: str = "") -> pathlib.Path:
    """`cache_dir`, else $UNET_JAX_CACHE, else ~/.cache/unet_jax/data; UserError where that is in a bucket.

    Records are read at random, by a library that maps local files.
    """
    folder = cache_dir or os.environ.get("UNET_JAX_CACHE") or "~/.cache/unet_jax/data"
    if in_bucket(folder):
        raise UserError(
            f"data.cache_dir={folder} is in a bucket; give a local folder, the data themselves may lie there"
        )
    return pathlib.Path(folder).expanduser()


def stamp(path: str | Path) -> str:
    """What changes with a file: path, size and time of its last change. UserError where it cannot be asked."""
    return _about(path)[0]


def file_digests(paths: Iterable[str | Path], cache_dir: str = "") -> dict[str, str]:
    """sha256 of each file's contents by path, read again only where path, size or mtime_ns have changed.

    The memo lies in `CACHE/digests.json`. A file modified within the last 2 s is not remembered: it could change again
    with the same size and time stamp. Raises `UserError` that names a file that cannot be read.
    """
    memo_path = cache_folder(cache_dir) / "digests.json"
    memo = _read_json(memo_path)

    def look(path: str) -> tuple[str, str, bool]:
        now, (about, changed) = time.time(), _about(path)
        try:
            return about, memo.get(about) or file_sha256(path), abs(now - changed) > 2
        except OSError as error:
            raise unreadable(path, error) from error

    listed = list(map(str, paths))
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(look, listed))
    fresh = {about: digest for about, digest, settled in found if settled and about not in memo}
    if fresh:
        _write_json(memo_path, _read_json(memo_path) | fresh)
    return {path: digest for path, (_, digest, _) in zip(listed, found, strict=True)}


def _about(path: str | Path) -> tuple[str, float]:
    """What of a file changes with it (path, size, time of the last change), and that time, in seconds."""
    try:
        if in_bucket(path):
            stat = Path(path).stat()
            return f"{path}|{stat.length}|{stat.mtime}", stat.mtime
        stat = os.stat(path)
        return f"{os.path.abspath(path)}|{stat.st_size}|{stat.st_mtime_ns}", stat.st_mtime
    except OSError as error:
        raise unreadable(path, error) from error


def remember(key: str, compute: Callable[[], dict], cache_dir: str = "") -> dict:
    """`compute()`, a JSON-able dict, kept in the cache under `key` and computed once."""
    path = cache_folder(cache_dir) / "facts" / f"{key}.json"
    facts = _read_json(path)
    if not facts:
        facts = compute()
        _write_json(path, facts)
    return facts


def unreadable(path: str | Path, error: OSError) -> UserError:
    """What is raised for a file that is not there or may not be read."""
    return UserError(f"{path}: cannot be read ({error.strerror or error}); check that it is there and readable")


def unwritable(folder: str | Path, error: OSError) -> UserError:
    """What is raised where the data folder cannot be made or written to."""
    return UserError(
        f"{folder}: prepared data cannot be written there ({error.strerror or error}); "
        "set data.cache_dir or $UNET_JAX_CACHE to a folder that can be written to"
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
        raise unwritable(path.parent, error) from error
