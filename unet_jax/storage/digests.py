"""sha256 of files and of JSON-able values, as 64 hex digits."""

import hashlib
import json

from etils.epath import Path


def file_sha256(path: str) -> str:
    with Path(path).open("rb") as file:  # in pieces: a file of records may be larger than the memory
        sums = hashlib.sha256()
        while piece := file.read(2**20):
            sums.update(piece)
    return sums.hexdigest()


def json_sha256(value) -> str:
    """sha256 of a JSON-able value, 64 hex digits, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
