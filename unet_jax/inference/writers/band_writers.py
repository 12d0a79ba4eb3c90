"""Writes an image in bands of rows, so that it need not fit into memory: a tiled TIFF, or a Zarr array.

A result appears under its name when it is whole. Until then it lies beside it, under a hidden name; a process that is killed
leaves nothing else. PNG has no such writer: no library that the project has writes it in parts, so a PNG is for images that
fit into memory.
"""

import abc
import os
from collections.abc import Iterator, Sequence
from typing import Any, Self

import imagecodecs
import numpy as np
import tifffile
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage.paths import PathLike, in_bucket, naming, remove, replace, to_path, working_path

# Rows and columns of a tile or a chunk.
TILE = 256
# A classic TIFF has offsets of 32 bits. The rest is for its tags; each tile takes 8 bytes of them.
CLASSIC_BYTES = 2**32 - 2**20
TILE_TAG_BYTES = 8


class BandWriter(abc.ABC):
    """Writes an image that is given in bands. Used as a context, it closes the result, or after an error discards it.

    It holds one row of tiles in memory.

    Args:
      path: the local file or folder; one that exists is replaced.
      shape: `(H, W)` or `(H, W, C)`.
      dtype: the type of the values.
      tile: rows and columns of a tile, a multiple of 16.

    Raises:
      UserError: the path is in a bucket.
      OSError: the folder cannot be written to; or later, the disk is full.
    """

    def __init__(self, path: PathLike, shape: Sequence[int], dtype: Any = np.uint8, tile: int = TILE):
        if in_bucket(path):
            raise UserError(
                f"{path}: is in a bucket, where results cannot be written in parts; write to a local folder"
            )
        self.path = to_path(path)
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self._tile = tile
        self._working = working_path(self.path)
        self._rows = np.zeros((min(tile, self.shape[0]), *self.shape[1:]), self.dtype)
        self._next = 0
        with naming(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, start: int, band: np.ndarray) -> None:
        """Adds a band.

        Args:
          start: its first row, which is the one after the last band.
          band: `[h, W]` or `[h, W, C]`, as the shape of the image is.

        Raises:
          ValueError: the band is another one.
          OSError: the disk is full.
        """
        if start != self._next or band.shape[1:] != self.shape[1:] or start + len(band) > self.shape[0]:
            raise ValueError(f"a band of {band.shape} at row {start}: row {self._next} of {self.shape} is next")
        if band.dtype != self.dtype:
            raise ValueError(f"a band of {band.dtype}, and the image is {self.dtype}")
        while len(band):
            filled = self._next % self._tile
            part, band = np.split(band, [self._tile - filled])
            self._rows[filled : filled + len(part)] = part
            self._next += len(part)
            if filled + len(part) == self._tile or self._next == self.shape[0]:
                with naming(self.path):
                    self._write_rows(self._next - filled - len(part), self._rows[: filled + len(part)])

    def close(self) -> None:
        """Gives the result its name.

        Raises:
          ValueError: rows are missing.
          OSError: the disk is full.
        """
        if self._next < self.shape[0]:
            raise ValueError(f"{self.path}: {self._next} of {self.shape[0]} rows were written")
        with naming(self.path):
            self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()

    @abc.abstractmethod
    def _write_rows(self, start: int, rows: np.ndarray) -> None:
        """Writes a row of tiles; the last one may have fewer rows."""

    @abc.abstractmethod
    def _finish(self) -> None:
        """Writes what is left, and moves the result to its name."""

    @abc.abstractmethod
    def discard(self) -> None:
        """Removes what lies beside the result. A result that was closed stays."""


class TiffBands(BandWriter):
    """Writes a tiled TIFF with deflate compression, which is a BigTIFF if it must be; see `BandWriter`.

    The compressed tiles lie in a file of their own until the image is whole. So the disk needs room for them twice.

    Attributes:
      description: a text that the file holds as its ImageDescription, ASCII; "" for none.
    """

    def __init__(self, path: PathLike, shape: Sequence[int], dtype: Any = np.uint8, tile: int = TILE):
        super().__init__(path, shape, dtype, tile)
        self._tiles_path = self._working.with_name(f"{self._working.name}.tiles")
        self._tile_bytes: list[int] = []
        self.description = ""
        with naming(self.path):
            self._tiles = open(self._tiles_path, "w+b")  # noqa: SIM115

    def _write_rows(self, start: int, rows: np.ndarray) -> None:
        for left in range(0, self.shape[1], self._tile):
            part = rows[:, left : left + self._tile]
            tile = np.zeros((self._tile, self._tile, *self.shape[2:]), self.dtype)
            tile[: part.shape[0], : part.shape[1]] = part
            data = imagecodecs.deflate_encode(tile)
            self._tiles.write(data)
            self._tile_bytes.append(len(data))

    def _finish(self) -> None:
        size = sum(self._tile_bytes) + TILE_TAG_BYTES * len(self._tile_bytes)
        with tifffile.TiffWriter(self._working, bigtiff=size > CLASSIC_BYTES) as writer:
            writer.write(
                self._stored_tiles(),
                shape=self.shape,
                dtype=self.dtype,
                tile=(self._tile, self._tile),
                compression="adobe_deflate",
                photometric="minisblack",
                planarconfig="contig" if len(self.shape) == 3 else None,
                description=self.description or None,
                metadata=None,
                software=False,
            )
        os.replace(self._working, self.path)

    def _stored_tiles(self) -> Iterator[bytes]:
        self._tiles.seek(0)
        for count in self._tile_bytes:
            yield self._tiles.read(count)

    def discard(self) -> None:
        """Removes what lies beside the result. A result that was closed stays."""
        self._tiles.close()
        for path in (self._tiles_path, self._working):
            path.unlink(missing_ok=True)


class ZarrBands(BandWriter):
    """Writes a Zarr array of version 3, with the dimension names y, x and c; see `BandWriter`.

    No chunk is left out, so that a missing one is an error for a reader.
    """

    def __init__(self, path: PathLike, shape: Sequence[int], dtype: Any = np.uint8, tile: int = TILE):
        super().__init__(path, shape, dtype, tile)
        # Imported late: it takes 0.5 s, which a program that writes other files need not wait for.
        import zarr

        with naming(self.path):
            self._array = zarr.create_array(
                os.fspath(self._working),
                shape=self.shape,
                dtype=self.dtype,
                chunks=(tile, tile, *self.shape[2:]),
                dimension_names=("y", "x", "c")[: len(self.shape)],
                config={"write_empty_chunks": True},
            )

    def _write_rows(self, start: int, rows: np.ndarray) -> None:
        self._array[start : start + len(rows)] = rows

    def _finish(self) -> None:
        replace(Path(self._working), Path(self.path))

    def discard(self) -> None:
        """Removes what lies beside the result. A result that was closed stays."""
        remove(Path(self._working))
