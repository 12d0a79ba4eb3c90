"""Images that are read in bands of rows, so that they need not fit into memory."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

# The pixels of a band of `bands`.
BAND_PIXELS = 2**20
# A read may begin this many rows before the end of the last one, and decodes nothing anew.
KEPT_ROWS = 256


class ImageRows(Protocol):
    """An image that is read in bands of rows."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of channels."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The type of the pixels: uint8, uint16 or float32."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`, `[stop - start, W, C]`; the caller does not write into them.

        Args:
          start: the first row, at least 0.
          stop: the row after the last one, at most the height.
        """
        ...


class ArrayRows:
    """An image in memory, as `ImageRows`.

    >>> rows = ArrayRows(np.arange(12, dtype=np.uint8).reshape(4, 3))
    >>> rows.shape, rows.read(1, 3)[..., 0].tolist()
    ((4, 3, 1), [[3, 4, 5], [6, 7, 8]])

    Args:
      array: `[H, W]` or `[H, W, C]`.
    """

    def __init__(self, array: np.ndarray):
        self._array = array[..., None] if array.ndim == 2 else array

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of channels."""
        height, width, channels = self._array.shape
        return height, width, channels

    @property
    def dtype(self) -> np.dtype:
        """The type of the pixels."""
        return self._array.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`; see `ImageRows`."""
        return self._array[start:stop]


class BlockRows:
    """An image that is stored in blocks of rows, such as a row of tiles, which are decoded one at a time.

    Bands that follow each other, or overlap by at most `KEPT_ROWS`, decode no block twice.

    Args:
      shape: height, width and number of channels.
      dtype: of the pixels.
      block_rows: the rows of a block; the last one may have fewer.
      read_block: returns the rows `start` to `stop - 1`, which are those of one block.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype,
        block_rows: int,
        read_block: Callable[[int, int], np.ndarray],
    ):
        self.shape = shape
        self.dtype = dtype
        self._block_rows = block_rows
        self._read_block = read_block
        # By the first row.
        self._kept: dict[int, np.ndarray] = {}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`; see `ImageRows`."""
        band = np.empty((stop - start, *self.shape[1:]), self.dtype)
        kept = {}
        for first in range(start - start % self._block_rows, stop, self._block_rows):
            last = min(first + self._block_rows, self.shape[0])
            block = self._kept.get(first)
            if block is None:
                block = self._read_block(first, last)
            top, bottom = max(first, start), min(last, stop)
            band[top - start : bottom - start] = block[top - first : bottom - first]
            # After the last row nothing is kept: there may be many images, such as the pages of a stack.
            if stop < self.shape[0] and last > stop - KEPT_ROWS:
                kept[first] = block
        self._kept = kept
        return band


class ConvertedRows:
    """An image of which each band is converted, such as to another number of channels.

    >>> doubled = ConvertedRows(ArrayRows(np.ones((4, 3), np.uint8)), lambda band: np.repeat(band, 2, -1))
    >>> doubled.shape, doubled.read(0, 1).shape
    ((4, 3, 2), (1, 3, 2))

    Args:
      rows: the image.
      convert: returns `[h, W, C']` for rows `[h, W, C]`; a pixel's result depends on that pixel only.
    """

    def __init__(self, rows: ImageRows, convert: Callable[[np.ndarray], np.ndarray]):
        height, width, channels = rows.shape
        pixel = convert(np.zeros((1, 1, channels), rows.dtype))
        self.shape = (height, width, pixel.shape[-1])
        self.dtype = pixel.dtype
        self._rows = rows
        self._convert = convert

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`; see `ImageRows`."""
        return self._convert(self._rows.read(start, stop))


def bands(rows: ImageRows, band_rows: int = 0) -> Iterator[np.ndarray]:
    """Yields an image in bands `[h, W, C]`, from the first row to the last.

    Args:
      rows: the image.
      band_rows: the rows of a band; 0 for as many as have about `BAND_PIXELS`.
    """
    height, width, _ = rows.shape
    step = band_rows or max(BAND_PIXELS // width, 1)
    for start in range(0, height, step):
        yield rows.read(start, min(start + step, height))
