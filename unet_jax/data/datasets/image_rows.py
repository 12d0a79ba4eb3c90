"""Images that are read in bands of rows, so that they need not fit into memory."""

from typing import Protocol

import numpy as np


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
