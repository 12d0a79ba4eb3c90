"""The data folder: where prepared data lie, and what is remembered of files so that they are not read again."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from unet_jax import json_file
from unet_jax.errors import UserError


def cache_folder(cache_dir: str = "") -> Path:
    """`cache_dir`, else $UNET_JAX_CACHE, else ~/.cache/unet_jax/data."""
    return Path(cache_dir or os.environ.get("UNET_JAX_CACHE") or "~/.cache/unet_jax/data").expanduser()


def file_digests(paths: Iterable[str | Path], cache_dir: str = "") -> dict[str, str]:
    """sha256 of each file's contents by path, read again only where path, size or mtime_ns have changed.

    The memo lies in `CACHE/digests.json`. A file modified within the last 2 s is not remembered: it could change again
    with the same size and time stamp. Raises `UserError` that names a file that cannot be read.
    """
    memo_path = cache_folder(cache_dir) / "digests.json"
    memo = _read_json(memo_path)
    digests, fresh = {}, {}
    for path in map(str, paths):
        try:
            stat = os.stat(path)
            stamp = f"{os.path.abspath(path)}|{stat.st_size}|{stat.st_mtime_ns}"
            digests[path] = memo.get(stamp) or _digest(path)
        except OSError as error:
            raise unreadable(path, error) from error
        if stamp not in memo and abs(time.time() - stat.st_mtime) > 2:
            fresh[stamp] = digests[path]
    if fresh:
        _write_json(memo_path, _read_json(memo_path) | fresh)
    return digests


def _digest(path: str) -> str:
    with open(path, "rb") as file:  # in pieces: a file of records may be larger than the memory
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value) -> str:
    """sha256 of a JSON-able value, 64 hex digits, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _write_json(path: Path, value: dict) -> None:
    try:
        json_file.write(path, value)
    except OSError as error:
        raise unwritable(path.parent, error) from error
