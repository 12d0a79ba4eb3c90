"""Reads the pictures of a Zarr array, version 2 or 3, in bands of rows."""

import contextlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import axes, declared, pictures
from unet_jax.data.datasets.formats.axes import CHANNELS, COLUMNS, ROWS
from unet_jax.data.datasets.image_rows import BlockRows, ConvertedRows, ImageRows
from unet_jax.data.datasets.reading import Reading
from unet_jax.data.datasets.rows import zarr_arrays
from unet_jax.data.datasets.rows.source_file import Mark, SourceFile, changed, mark
from unet_jax.errors import UserError

IN_A_PICTURE = (ROWS, COLUMNS, *CHANNELS)
# Kinds of NumPy's types that are read: truth values, whole numbers without and with a sign, and floats.
WHOLE, FLOAT = "bui", "f"
# In the index of a shard, the offset of an inner chunk that is missing.
MISSING = 2**64 - 1
SHARDS = "sharding_indexed"
# The codecs of an index that are read, with the order of bytes: with a check sum of 4 bytes, and without.
INDEX = ([("bytes", "little"), ("crc32c", None)], [("bytes", "little")])
# Codecs and filters that never change a value, by their names in version 2, or behind "numcodecs." in version 3.
LOSSLESS = {
    *("bytes", "transpose", "blosc", "zstd", "gzip", "zlib", "lz4", "lzma", "bz2", "shuffle", "bitshuffle", "packbits"),
    *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"),
}


def open_images(path: str | Path, reading: Reading) -> list[ImageRows]:
    """Returns the pictures of a Zarr array, or of the full size of an OME-Zarr image, uint8, uint16 or float32 each.

    `zarr_arrays.find_letters` says what its dimensions are. Signed values, and those of more than 16 bits, become float32;
    truth values become 0 and 255. A chunk that is missing is an error, also where Zarr would read the fill value, unless
    `Reading.missing_chunks` allows it.

    Args:
      path: the folder.
      reading: see `Reading`; channels are not chosen here.

    Raises:
      UserError: the folder is no Zarr array, or its dimensions or its type are refused.
      Exception: it is damaged.
    """
    return [ConvertedRows(picture, _to_image) for picture in _open(path, reading, WHOLE + FLOAT)]


def open_labels(path: str | Path, reading: Reading) -> list[ImageRows]:
    """Returns the masks of a Zarr array, with the values as stored.

    Raises:
      UserError: as `open_images`; also for floats, for codecs that may change ids, and for channels that are not 8-bit RGB.
      Exception: it is damaged.
    """
    masks: list[ImageRows] = [ConvertedRows(picture, _to_labels) for picture in _open(path, reading, WHOLE)]
    channels, dtype = masks[0].shape[-1], masks[0].dtype
    if channels != 1 and (channels, dtype) != (3, np.uint8):
        raise UserError(
            f"{path}: is a mask of {channels} channels of {dtype}; save it as class ids in one channel, or as 8-bit RGB"
        )
    return masks


def _to_image(band: np.ndarray) -> np.ndarray:
    return pictures.to_image_type(band * np.uint8(255) if band.dtype == bool else band)


def _to_labels(band: np.ndarray) -> np.ndarray:
    return band.astype(np.uint8) if band.dtype == bool else band


def _open(path: str | Path, reading: Reading, kinds: str) -> list[ImageRows]:
    """Returns the pictures of an array with values of these kinds; of whole numbers, only those that no codec changes."""
    # Imported late: it takes 0.5 s, which a program that reads other files need not wait for.
    import zarr

    stored = zarr_arrays.find_array(os.fspath(path))
    described = [SourceFile(file) for file in stored.described]
    _check_codecs(stored.folder, stored.metadata, lossless=kinds == WHOLE)
    array: Any = zarr.open_array(stored.folder, mode="r", zarr_format=stored.metadata["zarr_format"])
    dtype = np.dtype(array.dtype)
    if dtype.kind not in kinds or dtype.itemsize > 8:
        wanted = "whole numbers" if kinds == WHOLE else "uint8, uint16 or float32"
        raise UserError(f"{path}: has values of type {dtype.name}; save it as {wanted}")
    if not array.size:
        raise UserError(f"{path}: has the shape {array.shape}, with no values; copy it again, or remove it")
    letters = zarr_arrays.find_letters(path, stored, reading)
    layout = axes.lay_out(path, array.shape, letters)
    block_rows = array.chunks[letters.index(ROWS)]
    declared.check_size(path, layout.width, layout.height, layout.channels * dtype.itemsize, block_rows)
    fill = reading.missing_chunks == "fill"
    reader = _Reader(stored, array, letters, described, fill)
    shape = (layout.height, layout.width, layout.channels)
    counted = [range(size) for size, axis in zip(array.shape, letters, strict=True) if axis not in IN_A_PICTURE]
    return [
        BlockRows(shape, dtype.newbyteorder("="), block_rows, reader.of_page(page))
        for page in itertools.product(*counted)
    ]


def _check_codecs(folder: str, metadata: dict[str, Any], lossless: bool) -> None:
    """Raises UserError if chunks are pickled, which may run any code, lie in shards of an unusual kind, or may be changed."""
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
    for name in _codecs(metadata) if lossless else ():
        if name.removeprefix("numcodecs.") not in LOSSLESS:
            raise UserError(
                f"{folder}: has the codec {name}, which may change ids; save the mask with zstd or without a codec"
            )


def _codecs(metadata: dict[str, Any]) -> Iterator[str]:
    """Yields the names of the codecs of an array, with those of its shards."""
    for codec in metadata.get("codecs", ()):
        if codec["name"] == SHARDS:
            yield from _codecs(codec["configuration"])
        else:
            yield codec["name"]
    yield from (codec["id"] for codec in (*(metadata.get("filters") or ()), metadata.get("compressor")) if codec)


class _Reader:
    """Reads rows of an array, and checks the files of their chunks.

    Args:
      stored: the array as it is described.
      array: the open array.
      letters: a letter for each of its dimensions.
      described: the files that describe the array.
      fill: True where a chunk that is missing is read as the fill value.
    """

    def __init__(
        self, stored: zarr_arrays.StoredArray, array: Any, letters: str, described: Sequence[SourceFile], fill: bool
    ):
        self._folder = stored.folder
        self._array = array
        self._letters = letters
        self._described = described
        self._fill = fill
        codecs = stored.metadata.get("codecs", ())
        # How it is cut into shards, in the words of its description.
        self._shards = next((codec["configuration"] for codec in codecs if codec["name"] == SHARDS), None)
        # One file for each: a chunk, or a shard of chunks.
        self._grid = array.shards or array.chunks
        # None for a file that is missing.
        self._marks: dict[str, Mark | None] = {}

    def of_page(self, page: Sequence[int]) -> Callable[[int, int], np.ndarray]:
        """Returns what reads rows of a picture; see `BlockRows`.

        Args:
          page: its place in each dimension that counts pictures.
        """
        counted = [axis for axis in self._letters if axis not in IN_A_PICTURE]
        fixed = {axis: range(place, place + 1) for axis, place in zip(counted, page, strict=True)}

        def read(start: int, stop: int) -> np.ndarray:
            window = {ROWS: range(start, stop), **fixed}
            sizes = zip(self._letters, self._array.shape, strict=True)
            return self._read([window.get(axis, range(length)) for axis, length in sizes])

        return read

    def _read(self, window: Sequence[range]) -> np.ndarray:
        """Returns a part of a picture, `[h, W, C]`.

        Args:
          window: the part of each dimension.
        """
        for source in self._described:
            source.check()
        keys = self._keys(window)
        for key, coordinates in keys.items():
            self._check_file(key)
            if self._shards and not self._fill:
                self._check_shard(key, coordinates, window)
        selection = tuple(slice(part.start, part.stop) for part in window)
        try:
            values = np.asarray(self._array[selection])
        finally:
            # If a chunk changes while it is decoded, that is the error to report.
            for key in keys:
                self._check_file(key)
        (picture,) = axes.to_pictures(self._folder, values, self._letters)
        return picture

    def _keys(self, window: Sequence[range]) -> dict[str, tuple[int, ...]]:
        """Returns the files of a window, by their path in the folder, with their coordinates in the grid of files."""
        ranges = [
            range(part.start // step, -(-part.stop // step)) for part, step in zip(window, self._grid, strict=True)
        ]
        return {self._array.metadata.encode_chunk_key(place): place for place in itertools.product(*ranges)}

    def _check_file(self, key: str) -> None:
        path = os.path.join(self._folder, *key.split("/"))
        now: Mark | None = None
        with contextlib.suppress(FileNotFoundError):
            now = mark(path)
        if now is None and key not in self._marks and not self._fill:
            raise self._missing(key)
        if self._marks.setdefault(key, now) != now:
            raise changed(path)

    def _missing(self, key: str) -> UserError:
        return UserError(
            f"{self._folder}: its chunk {key} is missing; copy the array again. If its writer left the chunk out because it "
            "holds nothing but the fill value, write the array with write_empty_chunks=True, or set data.missing_chunks='fill'"
        )

    def _check_shard(self, key: str, coordinates: tuple[int, ...], window: Sequence[range]) -> None:
        """Raises UserError if a shard lacks an inner chunk of a window; Zarr would read the fill value."""
        inner = self._array.chunks
        counts = [shard // chunk for shard, chunk in zip(self._grid, inner, strict=True)]
        index = self._read_index(key, counts)
        for place in itertools.product(*map(range, counts)):
            firsts = [
                shard * number + chunk * at
                for shard, number, chunk, at in zip(self._grid, coordinates, inner, place, strict=True)
            ]
            is_needed = all(
                part.start < first + chunk and first < part.stop
                for part, first, chunk in zip(window, firsts, inner, strict=True)
            )
            if is_needed and index[place][0] == MISSING:
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
