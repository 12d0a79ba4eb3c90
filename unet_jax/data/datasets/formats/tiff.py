"""Decodes TIFF of one picture, with tifffile and imagecodecs.

Small copies of the picture (overviews, previews) and transparency masks are passed over. Resolution, colour profiles and
GeoTIFF tags, among them the "no data" value, are ignored.
"""

import contextlib
import io
import logging
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
from etils.epath import Path

from unet_jax.data.datasets.formats import declared, jpeg, tiff_tags
from unet_jax.data.datasets.formats.declared import Labels
from unet_jax.errors import UserError

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
PHOTOMETRIC = {4: "transparency mask", 5: "CMYK", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "raw sensor data"}
# Axes of rows, columns and channels.
IN_A_PICTURE = "YXSC"
# Values of tag ExtraSamples.
PREMULTIPLIED, ALPHA = 1, 2
INTERPRETATION, ORIENTATION, COLOUR_MAP = 262, 274, 320
LZW, JPEG = 5, 7
# Compressions that never change a value: none, CCITT, LZW, deflate, PackBits, PNG, LZMA, Zstandard.
LOSSLESS = (1, 2, 3, 4, LZW, 8, 32771, 32773, 32946, 34925, 34933, 50000)

# tifffile's log lines would repeat our errors.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def read_image(path: str | Path, data: bytes) -> np.ndarray:
    """Returns the pixels, uint8 or uint16 `[H, W, 1 or 3]`, in the displayed polarity and without alpha.

    Grey of 1, 2 and 4 bits is stretched to 0..255. Grey values with a colour table of ImageJ are grey.

    Raises:
      UserError: the file is refused for what it declares.
      Exception: the file is damaged.
    """
    with opened(io.BytesIO(data)) as tif:
        page = _picture(path, tif)
        check_image_page(path, tif, page)
        return displayed(page, decode_page(path, page))


def read_labels(path: str | Path, data: bytes) -> Labels:
    """Returns the values as stored, without alpha; raises as `read_image`, for lossy compression, and for 16-bit RGB."""
    with opened(io.BytesIO(data)) as tif:
        page = _picture(path, tif)
        if page.sampleformat not in (1, 2):
            raise UserError(f"{path}: has mask pixels of type {page.dtype}; save it as whole numbers")
        bits = _bits(path, page, (1, 2, 4, 8, 16, 32, 64))
        if page.compression not in LOSSLESS:
            name = getattr(page.compression, "name", page.compression)
            raise UserError(
                f"{path}: has the compression {name}, which may change ids; save the mask with LZW, deflate or no compression"
            )
        colours = _colours(page) if page.photometric == PALETTE else None
        pixels = decode_page(path, page)
    if pixels.shape[-1] == 1:
        return Labels(pixels[..., 0].astype(np.uint8) if pixels.dtype == bool else pixels[..., 0], colours)
    if bits != 8 or pixels.dtype != np.uint8:
        raise UserError(f"{path}: is a mask of {bits}-bit RGB; save it as 8-bit RGB, or as class ids in 8-bit grey")
    return Labels(pixels)


def read_pages(path: str | Path, data: bytes) -> np.ndarray:
    """Returns the pages of a stack, uint8 `[N, H, W]`, in the displayed polarity.

    Raises:
      UserError: the pages are not 8-bit grey or not of one size.
      Exception: the file is damaged.
    """
    with opened(io.BytesIO(data)) as tif:
        pages: list[Any] = list(tif.pages)
        kinds = {(page.photometric, page.bitspersample, page.sampleformat, page.shape) for page in pages}
        photometric, bits, sample_format, shape = kinds.pop()
        grey = photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and (bits, sample_format, len(shape)) == (8, 1, 2)
        if kinds or not grey or _planes(tif) > 1:
            raise UserError(f"{path}: is not a stack of 8-bit grey pages of the same size; copy the original again")
        for page in pages:
            _check_tags(path, page)
        stack = np.stack([decode_page(path, page)[..., 0] for page in pages])
    return 255 - stack if photometric == WHITE_IS_ZERO else stack


@contextlib.contextmanager
def opened(file: BinaryIO) -> Iterator[tifffile.TiffFile]:
    """Yields the TIFF of an open file, after `tiff_tags.check`.

    Raises:
      ValueError: it holds no picture, or is damaged.
    """
    tiff_tags.check(file)
    file.seek(0)
    # An OME-TIFF may name other files; only this one is read.
    with tifffile.TiffFile(file, is_ome=False) as tif:
        if not len(tif.pages):
            raise ValueError("it holds no picture")
        yield tif


def full_pages(tif: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """Returns the pages of full size: no overviews, previews and transparency masks."""
    every: list[Any] = list(tif.pages)
    pages = [page for page in every if not page.is_mask]
    full = [page for page in pages if not page.is_reduced]
    if not full:
        full = [inner for page in pages for inner in page.pages or () if not inner.is_reduced]
    return full or pages


def hidden_pages(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Returns the number of pictures that `full_pages` takes for the one picture of a page."""
    # A SubIFD that is not marked is an overview where it is smaller.
    inner: list[Any] = list(page.pages or ())
    larger = sum(not other.is_reduced and other.imagewidth >= page.imagewidth for other in inner)
    return max(1 + larger, _planes(tif), page.imagedepth)


def too_many_pages(path: str | Path, count: int) -> UserError:
    """Returns the error for a file of several pages where one picture is needed."""
    return UserError(f"{path}: holds {count} pages; save each page as a separate file")


def _picture(path, tif) -> tifffile.TiffPage:
    """Returns the page of the full picture, checked for what it declares."""
    pages = full_pages(tif)
    count = max(len(pages) - 1 + hidden_pages(tif, pages[0]), 1)
    if count > 1:
        raise too_many_pages(path, count)
    check_declared(path, tif, pages[0])
    return pages[0]


def check_declared(path: str | Path, tif: tifffile.TiffFile, page: tifffile.TiffPage, rows_at_once: int = 0) -> None:
    """Checks what a page declares about its pixels, as an image or as a mask.

    Args:
      path: name of the file, for the error.
      tif: the file.
      page: the page.
      rows_at_once: see `declared.check_size`.

    Raises:
      UserError: the page is too large, is to be turned, or holds signed values of ImageJ.
      ValueError: it does not tell what 0 is.
    """
    _check_tags(path, page, rows_at_once)
    if tif.is_imagej and _imagej(page).get("c0", "").startswith("-32768"):
        raise UserError(
            f"{path}: holds signed 16-bit values of ImageJ, stored 32768 too high; convert it to 8- or 16-bit unsigned"
        )


def check_image_page(path: str | Path, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Checks that the pixels of a page are those of an image that is read.

    Raises:
      UserError: they have another type, or a colour table.
      ValueError: the colour table is missing.
    """
    if page.sampleformat != 1:
        raise UserError(f"{path}: has pixels of type {page.dtype}; save it as 8- or 16-bit unsigned")
    _bits(path, page, (1, 2, 4, 8, 16))
    if page.photometric == PALETTE and not tif.is_imagej and _colours(page) is not None:
        raise UserError(
            f"{path}: has a colour table, and a TIFF does not tell if its values are grey values that are displayed in "
            "colour, or a picture in colour; save it as grey or RGB"
        )


def displayed(page: tifffile.TiffPage, pixels: np.ndarray) -> np.ndarray:
    """Returns the pixels of a page, or of rows of it, as they are displayed: uint8 or uint16 `[H, W, C]`.

    Args:
      page: the page.
      pixels: the values as stored, `[H, W, C]`.
    """
    bits = page.bitspersample
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if page.photometric == WHITE_IS_ZERO:
        pixels = 2**bits - 1 - pixels
    return pixels * np.uint8(255 // (2**bits - 1)) if bits < 8 else pixels


def _check_tags(path, page, rows_at_once: int = 0) -> None:
    # tifffile would take 0 for white.
    if INTERPRETATION not in page.tags:
        raise ValueError("its tag PhotometricInterpretation is missing, so it does not tell if 0 is black or white")
    bytes_per_pixel = page.samplesperpixel * (page.dtype.itemsize if page.dtype else 1)
    declared.check_size(path, page.imagewidth, page.imagelength, bytes_per_pixel, rows_at_once)
    orientation = page.tags.valueof(ORIENTATION, 1)
    declared.check_orientation(path, [orientation] if isinstance(orientation, int) else [])


def _planes(tif) -> int:
    """Returns the number of pictures in a file of one page: ImageJ, tifffile and others can store a stack in it."""
    if len(tif.pages) > 1:
        return 1
    page = tif.pages[0]
    if tif.is_imagej:
        return int(_imagej(page).get("images", "1"))
    with contextlib.suppress(Exception):
        # tifffile stores three slices of a stack as the channels of a page in colour, and names their axes.
        about = (tif.shaped_metadata or [{}])[0]
        axes = zip(about.get("axes", ""), about.get("shape", ()), strict=False)
        slices = math.prod(length for axis, length in axes if axis not in IN_A_PICTURE)
        return max(1, tif.series[0].size // page.size, slices)
    return 1


def _imagej(page) -> dict[str, str]:
    """Returns the lines KEY=VALUE that ImageJ writes into the description."""
    return dict(line.split("=", 1) for line in page.description.splitlines() if "=" in line)


def _bits(path, page, known) -> int:
    if page.bitspersample not in known:
        raise UserError(f"{path}: has {page.bitspersample} bits per channel; save it as 8- or 16-bit unsigned")
    return page.bitspersample


def decode_page(path: str | Path, page: tifffile.TiffPage) -> np.ndarray:
    """Returns the values of a page as stored, `[H, W, 1 or 3]`, without alpha.

    Raises:
      UserError: its channels are refused.
      Exception: the file is damaged.
    """
    channels, has_alpha = channels_of(path, page)
    check_segments_present(page)
    for segment in _segments(page):
        check_segment(page, segment)
    planes, _, height, width, samples = page.shaped
    pixels = page.asarray(squeeze=False)
    pixels = np.moveaxis(pixels, 0, -1).reshape(height, width, planes * samples) if planes > 1 else pixels[0, 0]
    if has_alpha:
        check_opaque(path, page, pixels[..., channels])
    return declared.without_alpha(path, pixels, channels)


def check_opaque(path: str | Path, page: tifffile.TiffPage, alpha: np.ndarray) -> None:
    """Checks that premultiplied alpha is opaque everywhere; other alpha may be anything.

    Args:
      path: name of the file, for the error.
      page: the page.
      alpha: alpha of the page, or of rows of it, as stored.

    Raises:
      UserError: it is not opaque.
    """
    if page.extrasamples[:1] == (PREMULTIPLIED,) and (alpha != np.iinfo(alpha.dtype).max).any():
        raise UserError(
            f"{path}: its alpha is premultiplied (associated): its colours are darker where it is transparent; save it "
            "without alpha"
        )


def channels_of(path: str | Path, page: tifffile.TiffPage) -> tuple[int, bool]:
    """Returns the number of channels without alpha, 1 or 3, and if alpha follows.

    Raises:
      UserError: the page has other channels or colours.
    """
    if (page.photometric == YCBCR and page.compression != JPEG) or page.photometric not in (0, 1, 2, 3, 6):
        name = PHOTOMETRIC.get(page.photometric) or getattr(page.photometric, "name", str(page.photometric))
        raise UserError(f"{path}: has colours of kind {name}; save it as grey or RGB")
    colours = 3 if page.photometric in (RGB, YCBCR) else 1
    samples, extra = page.samplesperpixel, tuple(int(kind) for kind in page.extrasamples)
    if samples == colours:
        return samples, False
    # Three channels of which nothing is said.
    if (page.photometric, samples) == (BLACK_IS_ZERO, 3) and not any(extra):
        return 3, False
    # Without the tag, a fourth channel is alpha by custom; OpenCV writes RGBA so.
    if samples == colours + 1 and (extra in ((PREMULTIPLIED,), (ALPHA,)) or (not extra and colours == 3)):
        return colours, True
    raise UserError(
        f"{path}: has {samples} channels; only grey and RGB are read, with or without alpha. Save it with 1 or 3 channels"
    )


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
