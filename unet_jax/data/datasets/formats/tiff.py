"""Decodes TIFF with tifffile and imagecodecs; `tiff_series` says which pictures its pages are.

Small copies of the picture (overviews, previews) and transparency masks are passed over. Resolution, colour profiles and
GeoTIFF tags, among them the "no data" value, are ignored.
"""

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
from etils.epath import Path

from unet_jax.data.datasets.formats import declared, jpeg, tiff_series, tiff_tags
from unet_jax.data.datasets.formats.pictures import Pictures, to_image_type
from unet_jax.data.datasets.formats.tiff_series import Plane, TiffPictures
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
PHOTOMETRIC = {4: "transparency mask", 5: "CMYK", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "raw sensor data"}
# Kinds of NumPy's types that are read: truth values, whole numbers without and with a sign, and floats.
KINDS = "buif"
# ImageJ stores signed values of 16 bits so much too high.
SIGNED_BY = 32768
# Values of tag ExtraSamples.
PREMULTIPLIED, ALPHA = 1, 2
INTERPRETATION, ORIENTATION, COLOUR_MAP = 262, 274, 320
LZW, JPEG = 5, 7
# Compressions that never change a value: none, CCITT, LZW, deflate, PackBits, PNG, LZMA, Zstandard.
LOSSLESS = (1, 2, 3, 4, LZW, 8, 32771, 32773, 32946, 34925, 34933, 50000)

# tifffile's log lines would repeat our errors.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def open_image(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the pictures of a file, uint8, uint16 or float32 `[H, W, C]` each, in the displayed polarity and without alpha.

    Grey of less than 8 bits is stretched to 0..255. Signed values, and those of more than 16 bits, become float32: above 2^24
    whole numbers lose digits. Grey values with a colour table of ImageJ are grey.

    Raises:
      UserError: the file is refused for what it declares.
      Exception: the file is damaged.
    """
    tif, found = open_pictures(path, io.BytesIO(data), reading)
    for page in _different_pages(found.planes):
        check_image_page(path, tif, page, reading)
    decoder = _Decoder(path, data)

    def read(number: int) -> np.ndarray:
        return displayed(tif, found.planes[number][0].page, decoder.read(found.planes[number]))

    return Pictures(len(found.planes), read, set_id=found.set_id)


def open_labels(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the values as stored, without alpha; raises as `open_image`, and for lossy compression and 16-bit RGB."""
    tif, found = open_pictures(path, io.BytesIO(data), reading)
    for page in _different_pages(found.planes):
        _check_labels_page(path, page)
    decoder = _Decoder(path, data)

    def read(number: int) -> np.ndarray:
        pixels = decoder.read(found.planes[number])
        channels, page = pixels.shape[-1], found.planes[number][0].page
        if channels != 1 and (channels != 3 or pixels.dtype != np.uint8):
            many = f"{page.bitspersample}-bit RGB" if channels == 3 else f"{channels} channels"
            raise UserError(f"{path}: is a mask of {many}; save it as 8-bit RGB, or as class ids in 8-bit grey")
        if pixels.dtype == bool:
            return pixels.astype(np.uint8)
        return pixels.astype(np.int32) - SIGNED_BY if is_signed_imagej(tif, page) else pixels

    first = found.planes[0][0].page
    colours = _colours(first) if first.photometric == PALETTE else None
    return Pictures(len(found.planes), read, colours, found.set_id)


def _check_labels_page(path, page) -> None:
    if page.sampleformat not in (1, 2):
        raise UserError(f"{path}: has mask pixels of type {page.dtype}; save it as whole numbers")
    if page.compression not in LOSSLESS:
        name = getattr(page.compression, "name", page.compression)
        raise UserError(
            f"{path}: has the compression {name}, which may change ids; save the mask with LZW, deflate or no compression"
        )


def open_pictures(
    path: str | Path, file: BinaryIO, reading: Reading, rows_at_once: Callable[[Any], int] = lambda page: 0
) -> tuple[tifffile.TiffFile, TiffPictures]:
    """Opens a TIFF, and returns it with the pictures that it holds, checked for what they declare.

    Args:
      path: name of the file, for errors.
      file: the file; it stays open.
      reading: see `Reading.axes`.
      rows_at_once: returns for a page what `declared.check_size` takes.

    Raises:
      UserError: the file is refused for what it declares.
      ValueError: it holds no picture, or is damaged.
    """
    tiff_tags.check(file)
    file.seek(0)
    # An OME-TIFF may name other files; only this one is read.
    tif = tifffile.TiffFile(file, is_ome=False)
    if not len(tif.pages):
        raise ValueError("it holds no picture")
    pages = full_pages(tif)
    _check_inner(path, pages)
    if not tiff_series.ome_set(path, tif):
        file.seek(0)
        tif = tifffile.TiffFile(file)
        pages = full_pages(tif)
    # Tags are checked before tifffile makes series of the pages, which it does of damaged ones too.
    for page in pages:
        check_declared(path, page, rows_at_once(page))
    found = tiff_series.find_pictures(path, tif, pages, reading.axes)
    return tif, found


def _different_pages(pictures: Sequence[Sequence[Plane]]) -> list[tifffile.TiffPage]:
    return list({id(plane.page): plane.page for picture in pictures for plane in picture}.values())


class _Decoder:
    """Decodes the planes of pictures; keeps the last page, whose other planes may be asked for next.

    Args:
      path: name of the file, for errors.
      data: the file.
    """

    def __init__(self, path: str | Path, data: bytes):
        self._path, self._data = path, data
        self._last: tuple[Any, np.ndarray] | None = None

    def read(self, picture: Sequence[Plane]) -> np.ndarray:
        """Returns the values of a picture as stored, `[H, W, C]`, without alpha."""
        return joined(self._path, picture, [self._plane(plane) for plane in picture])

    def _plane(self, plane: Plane) -> np.ndarray:
        """Returns `[H, W, S]`."""
        page: Any = plane.page
        if plane.is_behind:
            first = page.dataoffsets[0] + plane.part * page.nbytes
            _, _, height, width, samples = page.shaped
            stored = np.frombuffer(self._data[first : first + page.nbytes], page.parent.byteorder + page.dtype.char)
            return stored.astype(page.dtype).reshape(height, width, samples)
        if self._last is None or self._last[0] is not page:
            self._last = page, decode_page(page)
        return self._last[1][plane.part]


def joined(path: str | Path, picture: Sequence[Plane], values: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the values of a picture, without alpha.

    Args:
      path: name of the file, for errors.
      picture: its planes.
      values: of each plane, `[H, W, S]`.

    Raises:
      UserError: its channels are refused.
    """
    rest = iter(values)
    whole = [np.concatenate([next(rest) for _ in pixel], -1) for pixel in pixels_of(picture)]
    shown = [_without_alpha(path, pixel[0].page, each) for pixel, each in zip(pixels_of(picture), whole, strict=True)]
    return np.ascontiguousarray(np.concatenate(shown, -1) if len(shown) > 1 else shown[0])


def pixels_of(picture: Sequence[Plane]) -> list[Sequence[Plane]]:
    """Returns the planes of a picture by the pixels of a page that they make up: the samples of a pixel may lie apart."""
    page = picture[0].page
    if len(picture) == page.shaped[0] > 1 and all(plane.page is page and not plane.is_named for plane in picture):
        return [picture]
    return [[plane] for plane in picture]


def _without_alpha(path, page, pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[-1] < page.samplesperpixel:
        # A plane that was declared to be a picture by itself.
        return pixels
    channels, has_alpha = channels_of(path, page)
    if has_alpha:
        check_opaque(path, page, pixels[..., channels])
    return declared.without_alpha(path, pixels, channels)


def full_pages(tif: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """Returns the pages of full size: no overviews, previews and transparency masks."""
    every: list[Any] = list(tif.pages)
    pages = [page for page in every if not page.is_mask]
    full = [page for page in pages if not page.is_reduced]
    if not full:
        full = [inner for page in pages for inner in page.pages or () if not inner.is_reduced]
    return full or pages


def _check_inner(path, pages: Sequence[tifffile.TiffPage]) -> None:
    """Raises UserError if a page holds another picture of its size in a SubIFD; an overview is smaller."""
    for page in pages:
        inner: list[Any] = list(page.pages or ())
        if larger := sum(not other.is_reduced and other.imagewidth >= page.imagewidth for other in inner):
            raise UserError(
                f"{path}: holds {len(pages) + larger} pictures, some of them in SubIFDs; save each as a separate file"
            )


def check_declared(path: str | Path, page: tifffile.TiffPage, rows_at_once: int = 0) -> None:
    """Checks what a page declares about its pixels, as an image or as a mask.

    Args:
      path: name of the file, for the error.
      page: the page.
      rows_at_once: see `declared.check_size`.

    Raises:
      UserError: the page is too large, or is to be turned.
      ValueError: it does not tell what 0 is.
    """
    # tifffile would take 0 for white.
    if INTERPRETATION not in page.tags:
        raise ValueError("its tag PhotometricInterpretation is missing, so it does not tell if 0 is black or white")
    bytes_per_pixel = page.samplesperpixel * (page.dtype.itemsize if page.dtype else 1)
    declared.check_size(path, page.imagewidth, page.imagelength, bytes_per_pixel, rows_at_once)
    orientation = page.tags.valueof(ORIENTATION, 1)
    declared.check_orientation(path, [orientation] if isinstance(orientation, int) else [])


def is_signed_imagej(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> bool:
    """Returns True if ImageJ has stored signed values of 16 bits, `SIGNED_BY` too high."""
    lines = tiff_series.describe(tif).splitlines() if tif.is_imagej else []
    return page.bitspersample == 16 and any(line.startswith("c0=-32768") for line in lines)


def check_image_page(path: str | Path, tif: tifffile.TiffFile, page: tifffile.TiffPage, reading: Reading) -> None:
    """Checks that the pixels of a page are those of an image that is read.

    Raises:
      UserError: they have another type, a colour table, or a fourth channel of which nothing is known.
      ValueError: the colour table is missing.
    """
    kind, itemsize = (page.dtype.kind, page.dtype.itemsize) if page.dtype is not None else ("", 0)
    if kind not in KINDS or (itemsize > 4 and kind != "f"):
        raise UserError(
            f"{path}: has pixels of {page.bitspersample} bits, SampleFormat {page.sampleformat}, which are not read; save it with "
            "whole numbers of up to 32 bits, or as float32"
        )
    if page.photometric == WHITE_IS_ZERO and kind not in "bu":
        raise UserError(
            f"{path}: its PhotometricInterpretation says that 0 is white, and its values are signed; save it with BlackIsZero"
        )
    if page.photometric == PALETTE and not tif.is_imagej and _colours(page) is not None:
        raise UserError(
            f"{path}: has a colour table, and a TIFF does not tell if its values are grey values that are displayed in "
            "colour, or a picture in colour; save it as grey or RGB"
        )
    if page.photometric == RGB and tuple(page.extrasamples) == (0,) and not reading.channels:
        raise UserError(
            f"{path}: is RGB with a fourth channel that its tag ExtraSamples gives no meaning, such as a band or a selection; set "
            "data.channels to (0, 1, 2, 3) to keep it, or to (0, 1, 2)"
        )


def displayed(tif: tifffile.TiffFile, page: tifffile.TiffPage, pixels: np.ndarray) -> np.ndarray:
    """Returns the pixels of a page, or of rows of it, as they are displayed: uint8, uint16 or float32 `[H, W, C]`.

    Args:
      tif: the file.
      page: the page.
      pixels: the values as stored, `[H, W, C]`.
    """
    bits = page.bitspersample
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if page.photometric == WHITE_IS_ZERO:
        pixels = np.array(2**bits - 1, pixels.dtype) - pixels
    if bits < 8:
        most = 2**bits - 1
        return pixels * np.uint8(255 // most) if 255 % most == 0 else np.rint(pixels * (255 / most)).astype(np.uint8)
    if is_signed_imagej(tif, page):
        return (pixels.astype(np.int32) - SIGNED_BY).astype(np.float32)
    return to_image_type(pixels)


def shown_dtype(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> np.dtype:
    """Returns the type of the pixels of `displayed`."""
    return displayed(tif, page, np.zeros((1, 1, 1), page.dtype)).dtype


def decode_page(page: tifffile.TiffPage) -> np.ndarray:
    """Returns the values of a page as stored, `[P, H, W, S]`: P planes or slices that lie apart, S samples of a pixel.

    Raises:
      Exception: the file is damaged.
    """
    check_segments_present(page)
    for segment in _segments(page):
        check_segment(page, segment)
    planes, depth, height, width, samples = page.shaped
    return page.asarray(squeeze=False).reshape(planes * depth, height, width, samples)


def check_opaque(path: str | Path, page: tifffile.TiffPage, alpha: np.ndarray) -> None:
    """Checks that premultiplied alpha is opaque everywhere; other alpha may be anything.

    Args:
      path: name of the file, for the error.
      page: the page.
      alpha: alpha of the page, or of rows of it, as stored.

    Raises:
      UserError: it is not opaque.
    """
    most = 1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    if page.extrasamples[-1:] == (PREMULTIPLIED,) and (alpha != most).any():
        raise UserError(
            f"{path}: its alpha is premultiplied (associated): its colours are darker where it is transparent; save it "
            "without alpha"
        )


def channels_of(path: str | Path, page: tifffile.TiffPage) -> tuple[int, bool]:
    """Returns the number of channels without alpha, and if alpha follows.

    Raises:
      UserError: the page has other colours, or alpha among its channels.
    """
    if (page.photometric == YCBCR and page.compression != JPEG) or page.photometric not in (0, 1, 2, 3, 6):
        name = PHOTOMETRIC.get(page.photometric) or getattr(page.photometric, "name", str(page.photometric))
        raise UserError(f"{path}: has colours of kind {name}; save it as grey or RGB")
    colours = 3 if page.photometric in (RGB, YCBCR) else 1
    samples, extra = page.samplesperpixel, tuple(int(kind) for kind in page.extrasamples)
    # Without the tag, a fourth channel is alpha by custom; OpenCV writes RGBA so.
    has_alpha = extra[-1:] in ((PREMULTIPLIED,), (ALPHA,)) or (not extra and (colours, samples) == (3, 4))
    if any(extra[:-1]):
        raise UserError(f"{path}: its tag ExtraSamples {extra} names alpha among other channels; save it without alpha")
    return samples - has_alpha, has_alpha


def _colours(page) -> np.ndarray | None:
    """Returns the palette, uint8 `[N, 3]`, or None if it is the plain grey scale."""
    table = page.tags.valueof(COLOUR_MAP)
    if table is None:
        raise ValueError("its palette is missing")
    table = np.asarray(table).reshape(3, -1).T
    # Some programs write values of 8 bits.
    colours = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
    return None if declared.plain_grey(colours) else colours


def check_segments_present(page: tifffile.TiffPage) -> None:
    """Raises ValueError if strips or tiles of a page are missing."""
    offsets, counts, expected = page.dataoffsets, page.databytecounts, int(np.prod(page.chunked))
    stored = sum(bool(offset and count) for offset, count in zip(offsets, counts, strict=False))
    if len(offsets) != len(counts) or stored < (1 if page.is_contiguous else expected):
        raise ValueError(f"{expected - stored} of {expected} strips or tiles are missing")


def check_segment(page: tifffile.TiffPage, segment: bytes) -> None:
    """Raises an exception if the bytes of a strip or tile are damaged in a way that tifffile would not see."""
    if page.compression == JPEG and page.bitspersample == 8:
        tables = page.jpegtables
        jpeg.decode(tables[:-2] + segment[2:] if tables else segment, page.shaped[-1])
    if page.compression == LZW and page.fillorder != 2:
        # LZW has no check sum. tifffile raises if there is too little, and cuts off what is too much.
        *_, height, width, samples = page.shaped
        rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
        row_bytes = -(-(page.tilewidth if page.is_tiled else width) * samples * page.bitspersample // 8)
        if len(imagecodecs.lzw_decode(segment)) > rows * row_bytes:
            raise ValueError("its compressed data are damaged")


def _segments(page) -> Iterator[bytes]:
    if page.compression in (JPEG, LZW):
        for segment, _ in page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts):
            yield segment
