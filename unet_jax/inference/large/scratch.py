"""Arrays that hold intermediate results of an image: in memory where they are small, else in a temporary file."""

import math
import mmap
import os
import tempfile

import numpy as np
from numpy.typing import DTypeLike

from unet_jax.errors import UserError

# Larger arrays are kept in a file.
IN_MEMORY_BYTES = 256 << 20
# Rows are worked on in bands of about so many bytes.
BAND_BYTES = 16 << 20


class Scratch:
    """An array of zeros that may be larger than the memory.

    A large one is kept in a file in the folder of temporary files ($TMPDIR, or /tmp), which disappears with the array or
    with the process.

    >>> scratch = Scratch((2, 3), np.float32)
    >>> scratch.array[1] += 1
    >>> scratch.array.tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]

    Args:
      shape: of the array.
      dtype: of the array.

    Attributes:
      array: the array.

    Raises:
      UserError: the file does not fit on its disk.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike):
        size = math.prod(shape) * np.dtype(dtype).itemsize
        self._map: mmap.mmap | None = None
        if size <= IN_MEMORY_BYTES:
            self.array = np.zeros(shape, dtype)
            return
        folder = tempfile.gettempdir()
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                # Reserves the whole file: a disk that is full later would kill the process.
                os.posix_fallocate(file.fileno(), 0, size)
                self._map = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise UserError(
                f"{folder}: no temporary file of {size / 2**30:.1f} GiB can be made ({error.strerror}); set TMPDIR to a folder "
                "on a larger disk"
            ) from error
        self.array = np.frombuffer(self._map, dtype).reshape(shape)

    @property
    def memory(self) -> int:
        """The bytes of memory that the array takes; 0 if it is in a file."""
        return self.array.nbytes if self._map is None else 0

    def release(self) -> None:
        """Gives the memory back that the parts of the file take which were read or written; they stay in the file."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)


def band_rows(height: int, bytes_per_row: int) -> list[tuple[int, int]]:
    """Returns the (first, last + 1) rows of bands of about `BAND_BYTES` that cover an image.

    >>> band_rows(5, BAND_BYTES // 2)
    [(0, 2), (2, 4), (4, 5)]

    Args:
      height: the number of rows.
      bytes_per_row: the bytes that one row takes.
    """
    rows = max(BAND_BYTES // max(bytes_per_row, 1), 1)
    return [(start, min(start + rows, height)) for start in range(0, height, rows)]
