"""Writers of results that are held in memory until the image is whole, with the interface of `band_writers.BandWriter`.

PNG is written in one piece. An overlay is reduced while its bands come, so that it stays small.
"""

import contextlib
import io
import os
import zipfile
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from etils.epath import Path
from PIL import Image

from unet_jax.inference.writers.band_writers import BandWriter
from unet_jax.plotting import drawing
from unet_jax.storage.paths import PathLike, naming, to_path, write_whole

# Pixels of the longer side of an overlay; that of a larger image is reduced.
LARGEST_OVERLAY = 4096


class PngBands:
    """Writes a grey PNG of 8 bits; holds the whole image. May be in a bucket.

    Args:
      path: the file.
      shape: `(H, W)`.
    """

    def __init__(self, path: PathLike, shape: Sequence[int]):
        self.path = to_path(path)
        self._height = shape[0]
        self._bands: list[np.ndarray] = []

    def write(self, start: int, band: np.ndarray) -> None:
        """Adds a band, uint8 `[h, W]`; see `BandWriter.write`."""
        if start != sum(map(len, self._bands)):
            raise ValueError(f"{self.path}: a band at row {start}, out of order")
        self._bands.append(band)

    def close(self) -> None:
        """Writes the file in one move.

        Raises:
          OSError: it cannot be written.
        """
        rows = sum(map(len, self._bands))
        if rows != self._height:
            raise ValueError(f"{self.path}: {rows} of {self._height} rows were written")
        write_png(self.path, self._bands[0] if len(self._bands) == 1 else np.concatenate(self._bands))

    def discard(self) -> None:
        """Forgets what was added."""
        self._bands = []


class NpzBands(BandWriter):
    """Writes a NumPy archive with one array, `probabilities`, row by row; see `BandWriter`."""

    def __init__(self, path: PathLike, shape: Sequence[int], dtype: Any = np.float16):
        super().__init__(path, shape, dtype)
        with naming(self.path):
            self._archive = zipfile.ZipFile(os.fspath(self._working), "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        # A file of its own time would differ from one call to the next.
        member = zipfile.ZipInfo("probabilities.npy")
        member.compress_type = zipfile.ZIP_DEFLATED
        self._array = self._archive.open(member, "w", force_zip64=True)
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self._array, header)

    def _write_rows(self, start: int, rows: np.ndarray) -> None:
        self._array.write(rows.tobytes())

    def _finish(self) -> None:
        self._array.close()
        self._archive.close()
        os.replace(self._working, self.path)

    def discard(self) -> None:
        """Removes what lies beside the result. A result that was closed stays."""
        for part in (self._array, self._archive):
            # On a full disk not even an end can be written.
            with contextlib.suppress(OSError):
                part.close()
        self._working.unlink(missing_ok=True)


class OverlayBands:
    """Writes an overlay: the image with the masks in colour and a legend. May be in a bucket.

    An image with a side above `LARGEST_OVERLAY` is reduced by a whole number: the image by the mean of each square of pixels,
    the masks by its middle. Rows and columns at the end that fill no square are left out.

    Args:
      path: the file.
      shape: `(H, W)` of the image.
      names: of the masks.
      colours: of the masks.
    """

    def __init__(self, path: PathLike, shape: Sequence[int], names: Sequence[str], colours: Sequence[drawing.Colour]):
        self.path = to_path(path)
        self._factor = -(-max(shape[:2]) // LARGEST_OVERLAY)
        self._names, self._colours = names, colours
        # Rows that do not yet fill a square.
        self._rest: list[tuple[np.ndarray, np.ndarray]] = []
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def write(self, image: np.ndarray, masks: np.ndarray) -> None:
        """Adds a band.

        Args:
          image: `[h, W, C]`; see `drawing.to_display`.
          masks: bool `[h, W, K]`.
        """
        image = image[..., None] if image.ndim == 2 else image
        # A fourth channel says that there are more than three, which are drawn in another way. OpenCV reduces no more.
        self._rest.append((image[..., :4], masks))
        rows = sum(len(masks) for _, masks in self._rest)
        if rows >= self._factor:
            self._reduce(rows // self._factor)

    def _reduce(self, num: int) -> None:
        """Reduces the rows that wait to `num` rows, at least; what fills no square waits on."""
        image, masks = (
            np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for arrays in zip(*self._rest, strict=True)
        )
        factor, used = self._factor, num * self._factor
        self._rest = [(image[used:], masks[used:])] if used < len(image) else []
        if factor > 1:
            width = max(image.shape[1] // factor, 1)
            image = cv2.resize(image[:used, : width * factor], (width, num), interpolation=cv2.INTER_AREA)
            image = image[..., None] if image.ndim == 2 else image
            rows = np.minimum(np.arange(num) * factor + factor // 2, len(masks) - 1)
            columns = np.minimum(np.arange(width) * factor + factor // 2, masks.shape[1] - 1)
            masks = masks[rows][:, columns]
        self._parts.append((image, masks))

    def close(self) -> None:
        """Draws the overlay and writes it in one move.

        Raises:
          OSError: it cannot be written.
        """
        if not self._parts:
            # The image has fewer rows than a square.
            self._reduce(1)
        image, masks = (
            np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for arrays in zip(*self._parts, strict=True)
        )
        drawing.save_png(drawing.draw_prediction(image, masks, self._names, self._colours), self.path)

    def discard(self) -> None:
        """Forgets what was added."""
        self._rest, self._parts = [], []


def write_png(path: Path, array: np.ndarray) -> None:
    """Writes an array uint8 `[H, W]` as a PNG in one move.

    Raises:
      OSError: the file cannot be written.
    """
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, format="PNG")
    write_whole(path, encoded.getvalue())
