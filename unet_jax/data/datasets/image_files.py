"""Reads image, mask and instance files. Every fault of a file is an error of one line that names the file."""

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from etils.epath import Path
from PIL import Image, ImageSequence
from PIL.TiffImagePlugin import TiffImageFile

from unet_jax.data.datasets import instance_labels
from unet_jax.data.store.cache import read_error
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID
from unet_jax.storage.paths import to_path

# The first four bytes of a TIFF: either byte order, classic or BigTIFF.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF tags.
ORIENTATION, BITS_PER_SAMPLE = 274, 258

Palette = Sequence[Sequence[int]]

# OpenCV's log lines would repeat our errors. libpng and libtiff still write some lines.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Pillow takes very large images for an attack; here they are scans.
Image.MAX_IMAGE_PIXELS = None


def read_image(path: str | Path) -> np.ndarray:
    """Returns the pixels of an image file: uint8 or uint16 `[H, W, C]`, C = 1 (grey) or 3 (RGB).

    Alpha is dropped, and a palette is expanded to RGB. The EXIF orientation of a JPEG or PNG is not applied, so that the
    pixels stay aligned with those of the mask. OpenCV decodes the file, because Pillow would reduce 16-bit colour to 8 bits.
    Every command reads images with this function; it is public as `unet_jax.read_image`.

    Args:
      path: the file, local or in a bucket.

    Raises:
      UserError: the file is empty, cannot be read, is a TIFF with several pages or whose orientation tag is not 1, or its
        pixels are neither 8- nor 16-bit unsigned.
    """
    data = _read(path)
    if data[:4] in TIFF:
        _check_tiff(path, data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except Exception:
        pixels = None
    if pixels is None:
        raise UserError(f"{path}: cannot be read as an image; save it again as PNG or TIFF, or remove it")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: has pixels of type {pixels.dtype}; save it as 8- or 16-bit unsigned")
    if pixels.ndim == 2:
        return pixels[..., None]
    # Grey, or grey and alpha, which OpenCV returns as BGRA.
    if pixels.shape[-1] == 2 or _png_header(data)[1] in (0, 4):
        return pixels[..., :1]
    # From BGR or BGRA to RGB.
    return np.ascontiguousarray(pixels[..., 2::-1])


def read_labels(path: str | Path) -> np.ndarray:
    """Returns the values of a mask file as stored, without alpha.

    Pillow decodes the file, because OpenCV would expand a palette to RGB; here the indices of the palette are the ids.

    Args:
      path: the file, local or in a bucket.

    Returns:
      Ids or grey values `[H, W]`, or uint8 RGB `[H, W, 3]`.

    Raises:
      UserError: the file is a JPEG (its compression changes ids), has 16 bits with colour or alpha (Pillow would keep 8
        bits), is empty, cannot be read, or is a TIFF with several pages or whose orientation tag is not 1.
    """
    data = _read(path)
    if data[:4] in TIFF:
        _check_tiff(path, data)
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format in ("JPEG", "MPO"):
                raise UserError(f"{path}: is a JPEG, whose compression changes ids; export the mask as PNG")
            bits = _bits(image, data)
            if bits == 16 and image.mode in ("LA", "PA", "RGB", "RGBA"):
                raise UserError(
                    f"{path}: is a mask with 16 bits and colour or alpha; save it as 8-bit, or as 16-bit grey without alpha"
                )
            image.load()
            if image.mode in ("LA", "PA", "RGBA"):
                return np.asarray(image)[..., :-1].squeeze(-1) if image.mode != "RGBA" else np.asarray(image)[..., :3]
            if image.mode in ("RGB", "L", "P", "1", "I", "I;16", "I;16B"):
                values = np.asarray(image)
                if image.mode == "L" and bits in (2, 4):
                    # Pillow stretches the values to 0..255.
                    return values // (255 // (2**bits - 1))
                return values.astype(np.uint8) if values.dtype == bool else values
            mode = image.mode
    except UserError:
        raise
    except Exception as error:
        # For a damaged file Pillow raises TypeError, struct.error, KeyError and others.
        raise UserError(f"{path}: cannot be read as a mask ({one_line(error)}); export it again as PNG") from error
    raise UserError(f"{path}: has mask pixels of mode {mode}; save it as an 8-bit grey, palette or RGB PNG")


def to_ids(values: np.ndarray, path: str | Path, mask_values: Sequence[int] = (), palette: Palette = ()) -> np.ndarray:
    """Returns the class ids, uint8 `[H, W]`, for the values of a mask file; 255 is void.

    >>> to_ids(np.array([[0, 128, 255]]), "mask.png", mask_values=(0, 128)).tolist()
    [[0, 1, 255]]

    Args:
      values: the result of `read_labels`.
      path: name of the file, for errors.
      mask_values: values by class id; 255 is void unless it is one of them. () means that the values are the ids.
      palette: RGB triples by class id, for RGB masks.

    Raises:
      UserError: a value or a colour is not a class.
    """
    if values.ndim == 3:
        return _through_palette(values, path, palette)
    present = values_in(values)
    if mask_values:
        table = {VOID_ID: VOID_ID} | {int(value): index for index, value in enumerate(mask_values)}
        unknown = [int(v) for v in present if int(v) not in table]
        if unknown:
            raise UserError(
                f"{path}: holds values {_few(unknown)} that are not in mask_values={tuple(mask_values)}; "
                "add them to mask_values or correct the mask (255 is void)"
            )
        return np.array([table[int(v)] for v in present], np.uint8)[np.searchsorted(present, values)]
    if present[0] < 0 or present[-1] > VOID_ID:
        instance_labels.check_values(values, present, path)
        raise UserError(f"{path}: holds values {_few(present)}; give class ids 0..254, and 255 for void")
    return values.astype(np.uint8)


def read_instances(path: str | Path) -> np.ndarray:
    """Returns instance numbers uint16 `[H, W]`; 0 is background.

    Args:
      path: the file, local or in a bucket.

    Raises:
      UserError: the file is not one channel of values 0..65535, or cannot be read (see `read_labels`).
    """
    values = read_labels(path)
    if values.ndim == 3 or values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: instances must be one channel of values 0..65535; save them as 16-bit grey PNG")
    return values.astype(np.uint16)


def read_pages(path: str | Path) -> np.ndarray:
    """Returns the pages of a TIFF, uint8 `[N, H, W]`.

    Args:
      path: the file, local or in a bucket.

    Raises:
      UserError: the file cannot be read, or its pages are not 8-bit grey or not of one size.
    """
    data = _read(path)
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            modes, pages = zip(*((page.mode, np.array(page)) for page in ImageSequence.Iterator(image)), strict=True)
    except Exception as error:
        raise UserError(f"{path}: cannot be read as a TIFF ({one_line(error)}); copy the original again") from error
    if set(modes) != {"L"} or len({page.shape for page in pages}) > 1:
        raise UserError(f"{path}: is not a stack of 8-bit grey pages of the same size; copy the original again")
    return np.stack(pages)


def check_size(array: np.ndarray, path: str | Path, image: np.ndarray) -> None:
    """Checks that a mask has the size of its image.

    Args:
      array: mask or instances `[H, W, ...]`.
      path: name of its file, for the error.
      image: `[H, W, C]`.

    Raises:
      UserError: height or width differs.
    """
    if array.shape[:2] != image.shape[:2]:
        sizes = [f"{width} x {height}" for height, width in (array.shape[:2], image.shape[:2])]
        raise UserError(f"{path}: has {sizes[0]} pixels, its image {sizes[1]}; make them the same size")


def values_in(array: np.ndarray) -> np.ndarray:
    """Returns the different values of an array, sorted, as `np.unique` does; 8- and 16-bit values are counted, which is faster."""
    return np.flatnonzero(np.bincount(array.ravel())) if array.dtype.kind == "u" else np.unique(array)


def _through_palette(values, path, palette):
    packed, inverse = np.unique(_pack(values), return_inverse=True)
    colours = [tuple(int(c >> shift & 255) for shift in (16, 8, 0)) for c in packed]
    if not palette:
        raise UserError(
            f"{path}: is an RGB mask (colours {_few(colours)}), but no palette is given; "
            "set palette to the RGB triple of each class, or save class ids as 8-bit grey"
        )
    table = {tuple(map(int, colour)): index for index, colour in enumerate(palette)}
    unknown = [colour for colour in colours if colour not in table]
    if unknown:
        raise UserError(f"{path}: holds colours {_few(unknown)} that are not in palette; add them or correct the mask")
    return np.array([table[c] for c in colours], np.uint8)[inverse.reshape(values.shape[:2])]


def _pack(rgb):
    r, g, b = np.moveaxis(rgb.astype(np.uint32), -1, 0)
    return r << 16 | g << 8 | b


def _read(path) -> bytes:
    try:
        data = to_path(path).read_bytes()
    except OSError as error:
        raise read_error(path, error) from error
    if not data:
        raise UserError(f"{path}: is empty (0 bytes); copy it again or remove it")
    return data


def _check_tiff(path, data) -> None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            pages, orientation = getattr(image, "n_frames", 1), _tiff_tag(image, ORIENTATION, 1)
    except Exception:
        # The decoder that follows reports the fault, or can read what Pillow cannot.
        return
    if pages > 1:
        raise UserError(f"{path}: holds {pages} pages; save each page as a separate file")
    if orientation != 1:
        raise UserError(
            f"{path}: has the orientation tag {orientation}; save it upright, with orientation 1 or without the tag"
        )


def _tiff_tag(image: Image.Image, tag: int, default: Any) -> Any:
    return image.tag_v2.get(tag, default) if isinstance(image, TiffImageFile) else default


def _png_header(data: bytes) -> tuple[int, int]:
    """Returns (bits per channel, colour type) of a PNG: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA; else (0, -1)."""
    return (data[24], data[25]) if data.startswith(b"\x89PNG") and len(data) > 25 else (0, -1)


def _bits(image: Image.Image, data: bytes) -> int:
    """Returns the bits per channel as stored, read from the file's header, because Pillow's mode does not give them."""
    if image.format == "TIFF":
        return max(_tiff_tag(image, BITS_PER_SAMPLE, (1,)))
    return _png_header(data)[0] or 8


def _few(values, most: int = 8) -> str:
    values = [v if isinstance(v, tuple) else int(v) for v in values]
    listed = ", ".join(map(str, values[:most]))
    return f"{listed}, ... ({len(values)} in all)" if len(values) > most else listed


def one_line(error: Exception) -> str:
    """Returns the first line of an error's message, or the error's type if there is no message."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
