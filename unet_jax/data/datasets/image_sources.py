"""Opens images that need not fit into memory: a TIFF and a Zarr array are read in bands of rows."""

import os
from typing import NamedTuple

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets import image_files
from unet_jax.data.datasets.formats import declared, pictures
from unet_jax.data.datasets.formats.pictures import Pictures
from unet_jax.data.datasets.image_rows import ArrayRows, ConvertedRows, ImageRows
from unet_jax.data.datasets.reading import Reading
from unet_jax.data.datasets.rows import tiff_rows, zarr_rows
from unet_jax.data.datasets.rows.source_file import SourceFile
from unet_jax.storage.paths import in_bucket, to_path

# The bytes from which a format is known.
HEAD_BYTES = 256


class Picture(NamedTuple):
    """One image of a file.

    Attributes:
      suffix: what follows the name of the file in the names of its results: "", or the page of a stack, such as "_p003".
      rows: the image.
    """

    suffix: str
    rows: ImageRows


def open_rows(path: str | os.PathLike, how: Reading = image_files.AS_STORED) -> list[Picture]:
    """Opens the pictures of an image file or of a Zarr array, the pages of a stack as separate images.

    A local TIFF is read strip by strip or tile by tile, a local Zarr array chunk by chunk; each band that is read has the
    pixels of `image_files.open_pictures`. Any other file, and a file in a bucket, is read whole.

    Args:
      path: an image file, local or in a bucket, or the folder of a local Zarr array or OME-Zarr image.
      how: as in `image_files.open_pictures`.

    Returns:
      One picture, or one for each page of a stack. A band that cannot be read, or is read after the file has changed, is a
      UserError.

    Raises:
      UserError: as `image_files.open_pictures`.
    """
    place = to_path(path)
    if not in_bucket(place) and place.is_dir():
        with image_files.name_errors(place, "a Zarr array", "copy it again"):
            pages = zarr_rows.open_images(place, how)
    elif not in_bucket(place) and _is_tiff(place):
        with image_files.name_errors(place):
            pages = tiff_rows.open_pages(SourceFile(place), how)
    else:
        opened = image_files.open_pictures(place, how)
        if opened.count == 1:
            return [Picture("", ArrayRows(opened.read(0)))]
        return name_pages([_PageRows(opened, page) for page in range(opened.count)])
    return name_pages([_NamedRows(place, _with_channels(place, rows, how)) for rows in pages])


def _with_channels(path: Path, rows: ImageRows, how: Reading) -> ImageRows:
    """Returns an image with the channels that `how` keeps."""
    return ConvertedRows(rows, lambda band: pictures.chosen_channels(path, band, how)) if how.channels else rows


class _PageRows:
    """A page of a stack that is decoded whole when it is first asked for, and kept until its last row has been read.

    Args:
      opened: the stack.
      page: the number of the page.
    """

    def __init__(self, opened: Pictures, page: int):
        self._opened, self._page = opened, page
        self._kept: np.ndarray | None = None
        self._about: tuple[tuple[int, int, int], np.dtype] | None = None

    def _decoded(self) -> np.ndarray:
        if self._kept is None:
            self._kept = self._opened.read(self._page)
            height, width, channels = self._kept.shape
            self._about = (height, width, channels), self._kept.dtype
        return self._kept

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of channels."""
        return self._about[0] if self._about else ArrayRows(self._decoded()).shape

    @property
    def dtype(self) -> np.dtype:
        """The type of the pixels."""
        return self._about[1] if self._about else self._decoded().dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`; see `ImageRows`."""
        rows = self._decoded()[start:stop]
        if stop == self.shape[0]:
            self._kept = None
        return rows


def _is_tiff(path: Path) -> bool:
    """Returns True for a TIFF; False for another file, and for one that cannot be read."""
    # To open a pipe would wait for a writer.
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return declared.format_of(file.read(HEAD_BYTES)) == "TIFF"
    except OSError:
        return False


class _NamedRows:
    """An image whose errors name its file."""

    def __init__(self, path: Path, rows: ImageRows):
        self.shape, self.dtype = rows.shape, rows.dtype
        self._path, self._rows = path, rows

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`; see `ImageRows`."""
        with image_files.name_errors(self._path, remedy="copy it again"):
            return self._rows.read(start, stop)


def name_pages(pages: list[ImageRows]) -> list[Picture]:
    """Returns the pages of a file with their suffixes, which sort as the pages do; that of a single page is "".

    >>> [picture.suffix for picture in name_pages([ArrayRows(np.zeros((1, 1), np.uint8))] * 2)]
    ['_p000', '_p001']
    """
    if len(pages) == 1:
        return [Picture("", pages[0])]
    digits = max(3, len(str(len(pages) - 1)))
    return [Picture(f"_p{number:0{digits}}", rows) for number, rows in enumerate(pages)]
