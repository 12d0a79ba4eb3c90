"""Returns the sha256 of files and of JSON-able values, as 64 hex digits."""

import hashlib
import json

from etils.epath import Path


def file_sha256(path: str) -> str:
    """Returns the sha256 of a file, read in pieces: a file of records may be larger than the memory."""
    digest = hashlib.sha256()
    with Path(path).expanduser().open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def json_sha256(value) -> str:
    """Returns the sha256 of a JSON-able value; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
