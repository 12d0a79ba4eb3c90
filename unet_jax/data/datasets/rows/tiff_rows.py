"""Reads a TIFF in bands of rows. Its pixels are those of `tiff.open_image`, and so are the faults that are found."""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from unet_jax.data.datasets.formats import declared, tiff
from unet_jax.data.datasets.formats.tiff_series import Plane
from unet_jax.data.datasets.image_rows import BAND_PIXELS, ArrayRows, BlockRows, ImageRows, bands
from unet_jax.data.datasets.reading import Reading
from unet_jax.data.datasets.rows.source_file import SourceFile


def open_pages(source: SourceFile, reading: Reading) -> list[ImageRows]:
    """Returns the pictures of a TIFF; overviews, previews and transparency masks are passed over.

    Strips and tiles are decoded when their rows are read, without those of other pages. A page that can only be decoded as a
    whole is decoded at once.

    Args:
      source: the file.
      reading: see `Reading.axes`; channels are not chosen here.

    Raises:
      UserError: a page is refused for what it declares, or the file changes.
      Exception: the file is damaged.
    """
    with source.open() as file:
        tif, found = tiff.open_pictures(source.path, file, reading, _rows_at_once)
        pages = {id(plane.page): plane.page for picture in found.planes for plane in picture}
        for page in pages.values():
            tiff.check_image_page(source.path, tif, page, reading)
            tiff.check_segments_present(page)
        whole = {key: tiff.decode_page(page) for key, page in pages.items() if not _is_in_parts(page)}
        opened: list[ImageRows] = []
        for picture in found.planes:
            decoded = [whole.get(id(plane.page)) for plane in picture]
            rows = [
                _rows_of(source, plane) if values is None else ArrayRows(values[plane.part])
                for plane, values in zip(picture, decoded, strict=True)
            ]
            opened.append(_PictureRows(source, tif, picture, rows))
    return opened


def _is_plain(page: Any) -> bool:
    """Returns True if the pixels of a page can be read as they lie in the file."""
    return bool(page.is_contiguous) and page.predictor == 1 and page.fillorder == 1


def _is_in_parts(page: Any) -> bool:
    """Returns True if the rows of a page can be decoded without the others."""
    # tifffile decodes all tiles of an NDPI file together.
    return _is_plain(page) or not (page.is_contiguous or page.jpegheader or page.imagedepth > 1)


def _block_rows(page: Any) -> int:
    """Returns the rows of a strip or tile, or of what is read together where there is no compression."""
    if _is_plain(page):
        return max(BAND_PIXELS // max(page.imagewidth, 1), 1)
    return min(page.tilelength if page.is_tiled else page.rowsperstrip, page.imagelength)


def _rows_at_once(page: Any) -> int:
    return _block_rows(page) if _is_in_parts(page) else 0


class _PictureRows:
    """A picture of a file, as it is displayed and without alpha.

    Args:
      source: the file.
      tif: the file, which may be closed later.
      picture: its planes.
      rows: the values of each plane as stored.

    Raises:
      UserError: its channels or its alpha are refused.
    """

    def __init__(self, source: SourceFile, tif: Any, picture: Sequence[Plane], rows: Sequence[ImageRows]):
        self._tif = tif
        self._page: Any = picture[0].page
        every = iter(rows)
        self._pixels = [_JoinedRows([next(every) for _ in pixel]) for pixel in tiff.pixels_of(picture)]
        self._channels = []
        for pixel, joined in zip(tiff.pixels_of(picture), self._pixels, strict=True):
            samples = joined.shape[-1]
            channels, has_alpha = tiff.channels_of(source.path, pixel[0].page)
            if has_alpha and samples == channels + 1:
                _check_alpha(source.path, pixel[0].page, joined, channels)
            self._channels.append(min(channels, samples))
        height, width, _ = rows[0].shape
        self.shape = (height, width, sum(self._channels))
        self.dtype = tiff.shown_dtype(tif, self._page)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`; see `ImageRows`."""
        parts = [
            rows.read(start, stop)[..., :channels] for rows, channels in zip(self._pixels, self._channels, strict=True)
        ]
        stored = np.concatenate(parts, -1) if len(parts) > 1 else parts[0]
        return tiff.displayed(self._tif, self._page, np.ascontiguousarray(stored))


class _JoinedRows:
    """The channels of several images of one size and type as one image."""

    def __init__(self, rows: Sequence[ImageRows]):
        height, width, _ = rows[0].shape
        self.shape = (height, width, sum(each.shape[-1] for each in rows))
        self.dtype = rows[0].dtype
        self._rows = rows

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`; see `ImageRows`."""
        return np.concatenate([each.read(start, stop) for each in self._rows], -1)


def _rows_of(source: SourceFile, plane: Plane) -> BlockRows:
    """Returns the values of a plane as they are stored, `[H, W, S]`."""
    page: Any = plane.page
    _, _, height, width, samples = page.shaped
    # tifffile prepares its decoder while the file is open.
    decode: Any = None if _is_plain(page) else page.decode

    def read_block(start: int, stop: int) -> np.ndarray:
        with source.open() as file:
            if decode is None:
                return _read_plain(file, page, plane.part, start, stop)
            return _read_segments(file, page, decode, plane.part, start, stop)

    return BlockRows((height, width, samples), page.dtype, _block_rows(page), read_block)


def _read_plain(file, page, part: int, start: int, stop: int) -> np.ndarray:
    _, _, height, width, samples = page.shaped
    dtype = np.dtype(page.parent.byteorder + page.dtype.char)
    row_bytes = width * samples * dtype.itemsize
    count = (stop - start) * row_bytes
    data = _read(file, page.dataoffsets[0] + (part * height + start) * row_bytes, count)
    if len(data) < count:
        raise ValueError("the file is cut short")
    return np.frombuffer(data, dtype).reshape(stop - start, width, samples).astype(page.dtype, copy=False)


def _read_segments(file, page, decode, plane: int, start: int, stop: int) -> np.ndarray:
    """Returns rows of a plane, which are those of one strip or row of tiles."""
    _, _, height, width, samples = page.shaped
    block = np.empty((stop - start, width, samples), page.dtype)
    in_a_row = math.ceil(width / page.tilewidth) if page.is_tiled else 1
    block_rows = _block_rows(page)
    first = (plane * math.ceil(height / block_rows) + start // block_rows) * in_a_row
    for index in range(first, first + in_a_row):
        data = _read(file, page.dataoffsets[index], page.databytecounts[index])
        tiff.check_segment(page, data)
        segment, (_, _, _, left, _), _ = decode(data, index, jpegtables=page.jpegtables)
        block[:, left : left + segment.shape[2]] = segment[0, : stop - start, : width - left]
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
