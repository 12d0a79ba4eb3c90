#!/usr/bin/env bash
# zarr: with read_missing_chunks=False a chunk that was never written is an error, but not if it lies in a shard. Needs Python 3.12.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check zarr==3.4.2 numcodecs==0.17.1 numpy==2.4.6
venv/bin/python -I - <<'PY'
import numpy as np
import zarr

print("version: zarr", zarr.__version__)
zarr.config.set({"array.read_missing_chunks": False})
image = np.full((8, 4), 7, np.uint8)


def read(name, shards):
    """Writes the first of two chunks of 4 x 4 values, as a copy that was interrupted does, and reads both."""
    array = zarr.create_array(name, shape=image.shape, dtype=image.dtype, chunks=(4, 4), shards=shards)
    array[:4] = image[:4]
    try:
        return f"rows of {np.unique(zarr.open_array(name, mode='r')[:], axis=1).ravel().tolist()} and no error"
    except zarr.errors.ChunkNotFoundError:
        return "ChunkNotFoundError"


in_files, in_shard = read("files.zarr", None), read("shard.zarr", (8, 4))
print("made: two arrays with chunks of 4 x 4, of which one is written; with a file for each chunk, and with one shard")
print("guess: ChunkNotFoundError from both, because read_missing_chunks is False")
print(f"seen:  {in_files} from the files, {in_shard} from the shard")
if in_files != "ChunkNotFoundError" or in_shard != "rows of [7, 7, 7, 7, 0, 0, 0, 0] and no error":
    raise SystemExit("changed: a missing chunk in a shard is now treated otherwise")
PY
