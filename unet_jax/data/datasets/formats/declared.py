"""Checks what a file declares about its pixels before they are decoded: format, size, orientation.

The content decides the format, never the suffix.
"""

import re
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from etils.epath import Path

from unet_jax.errors import UserError

# Most pixels of an image, and the most in a row or a column.
MOST_PIXELS, MOST_SIDE = 2**30, 1_000_000

# Magic bytes of each format, at the start of the file.
MAGIC = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "BMP": (b"BM",),
    # Either byte order, classic or BigTIFF.
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "GIF": (b"GIF8",),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "Photoshop": (b"8BPS",),
    "PDF": (b"%PDF",),
    "NumPy": (b"\x93NUMPY",),
    "HDF5": (b"\x89HDF",),
    "ZIP": (b"PK\x03\x04",),
    "gzip": (b"\x1f\x8b",),
    # What a clone without the files holds, and what a server sends in place of a file.
    "Git LFS": (b"version https://git-lfs",),
    "HTML": (b"<!DOCTYPE", b"<!doctype", b"<html"),
}

# The bytes of a header of NIfTI, of either version, and the magic words in it.
NIFTI_HEADER = 544
NIFTI_1, NIFTI_2 = b"n+1\0", b"n+2\0"

_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([0-9])""")


class Labels(NamedTuple):
    """Holds the values of a mask file as stored, without alpha.

    Attributes:
      values: ids, grey values or indices of a palette `[H, W]`, or uint8 RGB `[H, W, 3]`.
      colours: the palette of an indexed file, uint8 `[N, 3]`; None for any other file, and where the palette is the plain
        grey scale, in which index and grey value are the same.
    """

    values: np.ndarray
    colours: np.ndarray | None = None


def format_of(data: bytes) -> str:
    """Returns the format of a file by its first bytes, one of `MAGIC` or another known one; "" if it is unknown."""
    for name, starts in MAGIC.items():
        if data.startswith(starts):
            return "NIfTI" if name == "gzip" and _is_nifti(unpacked_start(data)) else name
    if _is_nifti(data):
        return "NIfTI"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return "AVIF, HEIC or video"
    return "DICOM" if data[128:132] == b"DICM" else ""


def _is_nifti(data: bytes) -> bool:
    return data[344:348] == NIFTI_1 or data[4:8] == NIFTI_2


def is_gzip(data: bytes) -> bool:
    """Returns True for data that gzip has compressed."""
    return data.startswith(MAGIC["gzip"])


def unpacked_start(data: bytes) -> bytes:
    """Returns the first bytes of what is compressed by gzip; b"" for other data, and if they are damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data[:4096], NIFTI_HEADER)
    except zlib.error:
        return b""


def check_size(path: str | Path, width: int, height: int, bytes_per_pixel: int, rows_at_once: int = 0) -> None:
    """Checks the size that a file declares.

    Args:
      path: name of the file, for the error.
      width: pixels in a row.
      height: number of rows.
      bytes_per_pixel: bytes of a decoded pixel.
      rows_at_once: the rows that are decoded together, if the file is read in parts; 0 for all of them.

    Raises:
      UserError: the image is too large, or has no pixels.
    """
    if min(width, height) < 1:
        raise UserError(f"{path}: declares {width} x {height} pixels: it is damaged; save it again, or remove it")
    if width * min(height, rows_at_once or height) > MOST_PIXELS or max(width, height) > MOST_SIDE:
        raise too_large(path, width, height, bytes_per_pixel)


def too_large(path: str | Path, width: int, height: int, bytes_per_pixel: int) -> UserError:
    """Returns the error for an image that is too large; arguments as in `check_size`."""
    memory = width * height * bytes_per_pixel / 2**30
    return UserError(
        f"{path}: is too large: {width} x {height} pixels, {memory:.1f} GiB decoded; split it into images of at most "
        f"{MOST_PIXELS} pixels that fit into memory (32768 x 32768), and no side above {MOST_SIDE}"
    )


def check_orientation(path: str | Path, orientations: Iterable[int]) -> None:
    """Checks that a file shows its pixels as they are stored.

    A mask may have been drawn on the turned image or on the stored pixels. The file does not tell which.

    Args:
      path: name of the file, for the error.
      orientations: values of its orientation tags. Viewers ignore values outside 1..8.

    Raises:
      UserError: a tag turns or mirrors the image.
    """
    for orientation in (value for value in orientations if 2 <= value <= 8):
        raise UserError(
            f"{path}: has the EXIF orientation tag {orientation}, which turns or mirrors it on the screen; save its pixels "
            "upright, with orientation 1 or without the tag (magick mogrify -auto-orient FILE), and see that image and mask agree"
        )


def orientation_in_exif(exif: bytes) -> int:
    """Returns the orientation tag of EXIF data, or 1 if there is none or the data are damaged.

    Args:
      exif: the data, from the byte order mark on.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if not order:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, entry)
            if tag == 274:
                return struct.unpack_from(order + {1: "B", 4: "I"}.get(kind, "H"), exif, entry + 8)[0]
    except struct.error:
        pass
    return 1


def orientation_in_xmp(xmp: bytes) -> int:
    """Returns the orientation that XMP data give, or 1 if they give none."""
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[1]) if match else 1


def without_alpha(path: str | Path, pixels: np.ndarray, channels: int) -> np.ndarray:
    """Returns the first channels of an image, `[H, W, channels]`; what follows is alpha.

    Args:
      path: name of the file, for the error.
      pixels: `[H, W, C]`.
      channels: number of channels that are no alpha.

    Raises:
      UserError: only alpha shows anything, e.g. black that was painted on a transparent layer.
    """
    colours, alpha = pixels[..., :channels], pixels[..., channels:]
    if alpha.size and (colours == colours[0, 0]).all() and (alpha != alpha[0, 0]).any():
        raise only_alpha(path)
    return np.ascontiguousarray(colours)


def only_alpha(path: str | Path) -> UserError:
    """Returns the error for an image of one colour whose alpha differs."""
    return UserError(
        f"{path}: all its pixels have one colour, and only its alpha differs, which is dropped; save what it shows as grey "
        "values"
    )


def plain_grey(colours: np.ndarray) -> bool:
    """Returns True for a palette in which colour i is the grey i: indices and grey values are the same.

    Args:
      colours: uint8 `[N, 3]`.
    """
    return len(colours) <= 256 and bool((colours == np.arange(len(colours))[:, None]).all())
