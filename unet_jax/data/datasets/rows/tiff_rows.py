"""Reads a TIFF in bands of rows. Its pixels are those of `tiff.read_image`, and so are the faults that are found."""

import math
import os
from typing import Any

import numpy as np

from unet_jax.data.datasets.formats import declared, tiff
from unet_jax.data.datasets.image_rows import BAND_PIXELS, ArrayRows, BlockRows, ImageRows, bands
from unet_jax.data.datasets.rows.source_file import SourceFile


def open_pages(source: SourceFile) -> list[ImageRows]:
    """Returns the pages of a TIFF, or its one picture; overviews, previews and transparency masks are passed over.

    Strips and tiles are decoded when their rows are read. A page that can only be decoded as a whole is decoded at once.

    Raises:
      UserError: a page is refused for what it declares, or the file changes.
      Exception: the file is damaged.
    """
    with source.open() as file, tiff.opened(file) as tif:
        pages = tiff.full_pages(tif)
        return [rows for page in pages for rows in _open_page(source, tif, page, alone=len(pages) == 1)]


def _open_page(source: SourceFile, tif: Any, page: Any, alone: bool) -> list[ImageRows]:
    """Returns the picture of a page, or the pictures of a stack that is stored in one page."""
    path = source.path
    # Pixels that can be read as they lie in the file.
    plain = page.is_contiguous and page.predictor == 1 and page.fillorder == 1
    count = tiff.hidden_pages(tif, page)
    one_behind_the_other = plain and alone and not page.pages and page.imagedepth == 1 and page.planarconfig == 1
    if count > 1 and not one_behind_the_other:
        raise tiff.too_many_pages(path, count)
    _, _, height, width, _ = page.shaped
    if plain:
        block_rows = max(BAND_PIXELS // max(width, 1), 1)
    else:
        block_rows = min(page.tilelength if page.is_tiled else page.rowsperstrip, height)
    # tifffile decodes all tiles of an NDPI file together.
    in_parts = plain or not (page.is_contiguous or page.jpegheader)
    tiff.check_declared(path, tif, page, block_rows if in_parts else 0)
    tiff.check_image_page(path, tif, page)
    if not in_parts:
        return [ArrayRows(tiff.displayed(page, tiff.decode_page(path, page)))]
    channels, has_alpha = tiff.channels_of(path, page)
    tiff.check_segments_present(page)
    pictures: list[ImageRows] = []
    for number in range(count):
        stored = _StoredPage(source, page, plain, number, block_rows)
        if has_alpha:
            _check_alpha(path, page, stored.rows, channels)
        pictures.append(stored.displayed(channels))
    return pictures


class _StoredPage:
    """The pixels of a page as they are stored, in blocks of rows.

    Args:
      source: the file.
      page: the page, of an open `TiffFile`; the file may be closed later.
      plain: True if the pixels can be read as they lie in the file.
      number: the picture, counted from 0, of those that lie one behind the other where the page begins.
      block_rows: the rows of a strip or tile.
    """

    def __init__(self, source: SourceFile, page: Any, plain: bool, number: int, block_rows: int):
        self._source = source
        self._page = page
        self._plain = plain
        self._first_byte = page.dataoffsets[0] + number * page.nbytes
        self._block_rows = block_rows
        # tifffile prepares its decoder while the file is open.
        self._decode: Any = None if plain else page.decode
        planes, _, height, width, samples = page.shaped
        self.rows = BlockRows((height, width, planes * samples), page.dtype, block_rows, self._read_block)

    def displayed(self, channels: int) -> ImageRows:
        """Returns the first channels of the page, as they are displayed."""
        height, width, _ = self.rows.shape

        def read_block(start: int, stop: int) -> np.ndarray:
            return tiff.displayed(self._page, np.ascontiguousarray(self._read_block(start, stop)[..., :channels]))

        dtype = np.dtype(np.uint16 if self._page.bitspersample == 16 else np.uint8)
        return BlockRows((height, width, channels), dtype, self._block_rows, read_block)

    def _read_block(self, start: int, stop: int) -> np.ndarray:
        with self._source.open() as file:
            block = (self._read_plain if self._plain else self._read_segments)(file, start, stop)
        # From [planes, rows, width, samples].
        return block[0] if len(block) == 1 else np.moveaxis(block[..., 0], 0, -1)

    def _read_plain(self, file, start: int, stop: int) -> np.ndarray:
        page = self._page
        planes, _, height, width, samples = page.shaped
        dtype = np.dtype(page.parent.byteorder + page.dtype.char)
        row_bytes = width * samples * dtype.itemsize
        parts = []
        for plane in range(planes):
            count = (stop - start) * row_bytes
            data = _read(file, self._first_byte + (plane * height + start) * row_bytes, count)
            if len(data) < count:
                raise ValueError("the file is cut short")
            parts.append(np.frombuffer(data, dtype).reshape(stop - start, width, samples))
        return np.stack(parts).astype(page.dtype, copy=False)

    def _read_segments(self, file, start: int, stop: int) -> np.ndarray:
        page = self._page
        planes, _, height, width, samples = page.shaped
        block = np.empty((planes, stop - start, width, samples), page.dtype)
        in_a_row = math.ceil(width / page.tilewidth) if page.is_tiled else 1
        in_a_plane = in_a_row * math.ceil(height / self._block_rows)
        for plane in range(planes):
            first = plane * in_a_plane + start // self._block_rows * in_a_row
            for index in range(first, first + in_a_row):
                data = _read(file, page.dataoffsets[index], page.databytecounts[index])
                tiff.check_segment(page, data)
                segment, (_, _, _, left, _), _ = self._decode(data, index, jpegtables=page.jpegtables)
                block[plane, :, left : left + segment.shape[2]] = segment[0, : stop - start, : width - left]
        return block


def _read(file, start: int, count: int) -> bytes:
    """Returns bytes of the file, fewer where it ends before; what they lack, or are too much, is for the decoder to find."""
    size = file.seek(0, os.SEEK_END)
    file.seek(min(start, size))
    return file.read(min(count, size))


def _check_alpha(path: str, page: Any, rows: ImageRows, channels: int) -> None:
    """Reads a page once, and raises the UserErrors of `tiff.check_opaque` and `declared.without_alpha`."""
    first = rows.read(0, 1)[0, 0]
    one_colour, one_alpha = True, True
    for band in bands(rows):
        tiff.check_opaque(path, page, band[..., channels])
        one_colour = one_colour and bool((band[..., :channels] == first[:channels]).all())
        one_alpha = one_alpha and bool((band[..., channels:] == first[channels:]).all())
    if one_colour and not one_alpha:
        raise declared.only_alpha(path)
