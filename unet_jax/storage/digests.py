"""Returns the sha256 of files and of JSON-able values, as 64 hex digits."""

import hashlib
import json
from typing import Any

from unet_jax.storage.paths import PathLike, home_expanded, in_bucket, to_path


def file_sha256(path: PathLike) -> str:
    """Returns the sha256 of a file. Reads it in pieces, because a file of records may be larger than the memory."""
    digest = hashlib.sha256()
    with to_path(path).open("rb") if in_bucket(path) else open(home_expanded(path), "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def json_sha256(value: Any) -> str:
    """Returns the sha256 of a JSON-able value; the order of its keys does not matter.

    >>> json_sha256({"a": 1, "b": 2}) == json_sha256({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
