"""Reads a Zarr array, version 2 or 3, in bands of rows."""

import itertools
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.image_rows import BlockRows, ImageRows
from unet_jax.data.datasets.rows.source_file import Mark, SourceFile, changed, mark
from unet_jax.errors import UserError

# The files that describe an array or a group of arrays in version 3 and in version 2.
VERSION_3, VERSION_2, ATTRIBUTES_2, GROUP_2 = "zarr.json", ".zarray", ".zattrs", ".zgroup"
# What a dimension is, by its name in small letters.
AXES = {"y": "y", "x": "x", "c": "c", "channel": "c", "channels": "c"}
LAYOUT = "save it as [height, width] or [height, width, channels]"
TYPES = ("uint8", "uint16", "float32")
# In the index of a shard, the offset of an inner chunk that is missing.
MISSING = 2**64 - 1
SHARDS = "sharding_indexed"
# The codecs of an index that are read, with the order of bytes: with a check sum of 4 bytes, and without.
INDEX = ([("bytes", "little"), ("crc32c", None)], [("bytes", "little")])


def open_array(path: str | Path) -> ImageRows:
    """Returns a Zarr array as an image.

    Its dimension names decide what its dimensions are, in any order: y, x and c (or channel). A dimension of length 1 may
    have any other name. Without names it is `[H, W]`, or `[H, W, C]` with 1 or 3 channels. A chunk that is missing is an
    error, also where Zarr would read the fill value.

    Raises:
      UserError: the folder is no Zarr array, or its dimensions or its type are refused.
      Exception: it is damaged.
    """
    # Imported late: it takes 0.5 s, which a program that reads other files need not wait for.
    import zarr

    folder = os.fspath(path)
    files = [os.path.join(folder, name) for name in (VERSION_3, VERSION_2, ATTRIBUTES_2)]
    described = [SourceFile(file) for file in files if os.path.exists(file)]
    metadata = _read_metadata(folder)
    _check_codecs(folder, metadata)
    array: Any = zarr.open_array(folder, mode="r", zarr_format=metadata["zarr_format"])
    dtype = np.dtype(array.dtype)
    if dtype.name not in TYPES:
        raise UserError(f"{path}: has values of type {dtype.name}; save it as {', '.join(TYPES[:-1])} or {TYPES[-1]}")
    if not array.size:
        raise UserError(f"{path}: has the shape {array.shape}, with no values; copy it again, or remove it")
    axes = _axes(path, array)
    sizes = dict(zip(axes, array.shape, strict=True))
    blocks = dict(zip(axes, array.chunks, strict=True))
    declared.check_size(path, sizes["x"], sizes["y"], sizes.get("c", 1) * dtype.itemsize, blocks["y"])
    shards = next((codec["configuration"] for codec in metadata.get("codecs", ()) if codec["name"] == SHARDS), None)
    reader = _Reader(folder, array, axes, described, shards)
    shape = (sizes["y"], sizes["x"], sizes.get("c", 1))
    return BlockRows(shape, dtype.newbyteorder("="), blocks["y"], reader.read)


def _read_metadata(folder: str) -> dict[str, Any]:
    """Returns the content of the file that describes an array; raises UserError if the folder is none."""
    for name in (VERSION_3, VERSION_2, GROUP_2):
        file = os.path.join(folder, name)
        if os.path.exists(file):
            with open(file, "rb") as opened:
                metadata = json.load(opened)
            if name == VERSION_2 or metadata.get("node_type") == "array":
                return metadata
            arrays = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
            example = os.path.join(folder, min(arrays, default="NAME"))
            raise UserError(f"{folder}: is a group of Zarr arrays; give the path of one of them, e.g. {example}")
    raise UserError(
        f"{folder}: is a folder, and no Zarr array: it holds neither {VERSION_3} nor {VERSION_2}; give a file"
    )


def _check_codecs(folder: str, metadata: dict[str, Any]) -> None:
    """Raises UserError if chunks are pickled, which may run any code, or lie in shards of an unusual kind."""
    codecs = metadata.get("codecs", ())
    if "pickle" in json.dumps([codecs, metadata.get("filters"), metadata.get("compressor")]):
        raise UserError(
            f"{folder}: its values are pickled, and to read them could run any code; save it with another codec"
        )
    for shards in (codec["configuration"] for codec in codecs if codec["name"] == SHARDS):
        index = [(codec["name"], codec.get("configuration", {}).get("endian")) for codec in shards["index_codecs"]]
        if len(codecs) > 1 or index not in INDEX or SHARDS in json.dumps(shards["codecs"]):
            raise UserError(
                f"{folder}: has shards of an unusual kind; save it with the usual ones of Zarr, or without shards"
            )


def _axes(path: str | Path, array: Any) -> tuple[str, ...]:
    """Returns what each dimension is: "y", "x", "c", or "" with a number for one of length 1 that is passed over."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if names and any(names):
        axes = []
        for number, (name, length) in enumerate(zip(names, array.shape, strict=True)):
            axis = AXES.get(str(name).lower(), "")
            if not axis and length > 1:
                raise UserError(
                    f"{path}: its dimension {name!r} has {length} values; {LAYOUT}, with the names y, x and c"
                )
            axes.append(axis or f"{number}")
        known = [axis for axis in axes if axis in AXES]
        if len(known) > len(set(known)) or not {"y", "x"} <= set(known):
            raise UserError(
                f"{path}: has the dimensions {', '.join(map(str, names))}; {LAYOUT}, with the names y, x and c"
            )
        return tuple(axes)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3)):
        return ("y", "x", "c")[: array.ndim]
    raise UserError(
        f"{path}: has the shape {array.shape} and no dimension names; {LAYOUT} of 1 or 3 channels, or name the dimensions y, x and c"
    )


class _Reader:
    """Reads rows of an array, and checks the files of their chunks.

    Args:
      folder: of the array.
      array: the open array.
      axes: see `_axes`.
      described: the files that describe the array.
      shards: how it is cut into shards, in the words of its description; None if it is not.
    """

    def __init__(
        self,
        folder: str,
        array: Any,
        axes: Sequence[str],
        described: Sequence[SourceFile],
        shards: dict[str, Any] | None,
    ):
        self._folder = folder
        self._array = array
        self._axes = axes
        self._described = described
        self._shards = shards
        # One file for each: a chunk, or a shard of chunks.
        self._grid = array.shards or array.chunks
        self._marks: dict[str, Mark] = {}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`, `[stop - start, W, C]`."""
        for source in self._described:
            source.check()
        keys = self._keys(start, stop)
        for key, coordinates in keys.items():
            self._check_file(key)
            if self._shards:
                self._check_shard(key, coordinates, start, stop)
        selection = tuple(slice(start, stop) if axis == "y" else slice(None) for axis in self._axes)
        try:
            values = np.asarray(self._array[selection])
        finally:
            # If a chunk changes while it is decoded, that is the error to report.
            for key in keys:
                self._check_file(key)
        kept = [axis for axis in self._axes if axis in AXES]
        values = values.reshape([size for size, axis in zip(values.shape, self._axes, strict=True) if axis in AXES])
        values = values.transpose([kept.index(axis) for axis in ("y", "x", "c") if axis in kept])
        return values if "c" in kept else values[..., None]

    def _keys(self, start: int, stop: int) -> dict[str, tuple[int, ...]]:
        """Returns the files of the rows, by their path in the folder, with their coordinates in the grid of files."""
        ranges = []
        for axis, length, step in zip(self._axes, self._array.shape, self._grid, strict=True):
            first, last = (start, stop) if axis == "y" else (0, length)
            ranges.append(range(first // step, -(-last // step)))
        return {self._array.metadata.encode_chunk_key(place): place for place in itertools.product(*ranges)}

    def _check_file(self, key: str) -> None:
        path = os.path.join(self._folder, *key.split("/"))
        try:
            now = mark(path)
        except FileNotFoundError as error:
            if key in self._marks:
                raise changed(path) from error
            raise self._missing(key) from error
        if self._marks.setdefault(key, now) != now:
            raise changed(path)

    def _missing(self, key: str) -> UserError:
        return UserError(
            f"{self._folder}: its chunk {key} is missing; copy the array again. If its writer left the chunk out because it "
            "holds nothing but the fill value, write the array with write_empty_chunks=True"
        )

    def _check_shard(self, key: str, coordinates: tuple[int, ...], start: int, stop: int) -> None:
        """Raises UserError if a shard lacks an inner chunk of the rows; Zarr would read the fill value."""
        inner, y = self._array.chunks, self._axes.index("y")
        counts = [shard // chunk for shard, chunk in zip(self._grid, inner, strict=True)]
        index = self._read_index(key, counts)
        for place in itertools.product(*map(range, counts)):
            firsts = [
                shard * number + chunk * at
                for shard, number, chunk, at in zip(self._grid, coordinates, inner, place, strict=True)
            ]
            in_array = all(first < length for first, length in zip(firsts, self._array.shape, strict=True))
            if in_array and start < firsts[y] + inner[y] and firsts[y] < stop and index[place][0] == MISSING:
                raise self._missing(f"{'/'.join(map(str, place))} in the shard {key}")

    def _read_index(self, key: str, counts: Sequence[int]) -> np.ndarray:
        """Returns the offset and the length of each inner chunk of a shard, uint64 `[..., 2]`."""
        assert self._shards
        count = 16 * math.prod(counts)
        size = count + (4 if len(self._shards["index_codecs"]) > 1 else 0)
        with open(os.path.join(self._folder, *key.split("/")), "rb") as file:
            if self._shards.get("index_location", "end") == "end":
                file.seek(-size, os.SEEK_END)
            data = file.read(size)
        return np.frombuffer(data[:count], "<u8").reshape(*counts, 2)
