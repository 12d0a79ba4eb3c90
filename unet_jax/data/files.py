"""Reads image, mask and instance files; everything that can be wrong with one file is refused here, in one line."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from unet_jax.data.prepare import VOID
from unet_jax.errors import UserError

JPEG = (".jpg", ".jpeg")
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", *JPEG)

BROKEN = (OSError, ValueError, SyntaxError, Warning)  # what Pillow raises on a broken file

Palette = Sequence[Sequence[int]]

# A broken file is reported once, by us; OpenCV would print its own lines as well. Large scans are no attack.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
Image.MAX_IMAGE_PIXELS = None


def read_image(path: str | Path) -> np.ndarray:
    """The pixels of an image file: uint8 or uint16 `[H, W, C]`, C = 1 (grey) or 3 (RGB); alpha is dropped.

    OpenCV decodes, because Pillow would reduce 16-bit colour to 8. A palette is expanded to RGB; an EXIF orientation
    is not applied, so that the pixels stay over those of the mask. Raises `UserError` on a file that is empty,
    unreadable, holds several pages, or whose pixels are neither 8- nor 16-bit unsigned.
    """
    data = _read(path)
    if Path(path).suffix.lower() in (".tif", ".tiff"):
        _refuse_pages(path, data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise UserError(f"{path}: cannot be read as an image; save it again as PNG or TIFF, or remove it")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: pixels are {pixels.dtype}; save it as 8- or 16-bit unsigned")
    if pixels.ndim == 2:
        return pixels[..., None]
    if pixels.shape[-1] == 2:  # grey and alpha
        return pixels[..., :1]
    return np.ascontiguousarray(pixels[..., 2::-1])  # BGR(A) -> RGB


def read_labels(path: str | Path) -> np.ndarray:
    """The values of a mask file as stored: `[H, W]` (ids or grey values) or uint8 RGB `[H, W, 3]`; alpha is dropped.

    Pillow decodes, because OpenCV would expand a palette to RGB: here the indices are the ids. Raises `UserError` on a
    JPEG (its compression changes the ids) and on a file that is empty, unreadable, or holds several pages.
    """
    data = _read(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format in ("JPEG", "MPO"):
                raise UserError(f"{path}: is a JPEG, which changes ids; export the mask as PNG")
            if image.format == "TIFF":
                _refuse_pages(path, data)
            image.load()
            if image.mode in ("LA", "PA", "RGBA"):
                return np.asarray(image)[..., :-1].squeeze(-1) if image.mode != "RGBA" else np.asarray(image)[..., :3]
            if image.mode in ("RGB", "L", "P", "1", "I", "I;16", "I;16B"):
                values = np.asarray(image)
                return values.astype(np.uint8) if values.dtype == bool else values
            mode = image.mode
    except UserError:
        raise
    except BROKEN as error:
        raise UserError(f"{path}: cannot be read as a mask ({_one_line(error)}); export it again as PNG") from error
    raise UserError(f"{path}: mask pixels are of mode {mode}; save it as 8-bit grey, palette or RGB PNG")


def to_ids(values: np.ndarray, path: str | Path, mask_values: Sequence[int] = (), palette: Palette = ()) -> np.ndarray:
    """Class ids uint8 `[H, W]` (255 void) of what `read_labels` returned; `path` is only named in messages.

    RGB goes through `palette` (RGB triples by class id), exactly. Single values go through `mask_values` (values by
    class id) where it is given; 255 is void unless it is one of them. Without it they are the ids, and a mask of
    nothing but 0 and 255 is refused: as ids it would be background and void.
    """
    if values.ndim == 3:
        return _through_palette(values, path, palette)
    found = values_in(values)
    if mask_values:
        table = {VOID: VOID} | {int(value): index for index, value in enumerate(mask_values)}
        strange = [int(v) for v in found if int(v) not in table]
        if strange:
            raise UserError(
                f"{path}: holds values {_few(strange)} that are not in mask_values={tuple(mask_values)}; "
                "add them there or correct the mask (255 is void)"
            )
        return np.array([table[int(v)] for v in found], np.uint8)[np.searchsorted(found, values)]
    if found[0] < 0 or found[-1] > VOID:
        raise UserError(f"{path}: holds values {_few(found)}; class ids are 0..254 and 255 is void")
    if found[-1] == VOID and set(found.tolist()) <= {0, VOID}:
        raise UserError(
            f"{path}: holds only the values {_few(found)}; set mask_values=(0, 255) if 255 is class 1, "
            "or mask_values=(0, 1) if 255 is void"
        )
    return values.astype(np.uint8)


def read_instances(path: str | Path) -> np.ndarray:
    """Instance numbers uint16 `[H, W]`, 0 = background."""
    values = read_labels(path)
    if values.ndim == 3 or values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: instances must be one channel of 0..65535; save them as 16-bit grey PNG")
    return values.astype(np.uint16)


def values_in(array: np.ndarray) -> np.ndarray:
    """`np.unique`, by counting where the values are 8- or 16-bit."""
    return np.flatnonzero(np.bincount(array.ravel())) if array.dtype.kind == "u" else np.unique(array)


def _through_palette(values, path, palette):
    found, where = np.unique(_pack(values), return_inverse=True)
    colours = [tuple(int(c >> shift & 255) for shift in (16, 8, 0)) for c in found]
    if not palette:
        raise UserError(
            f"{path}: is an RGB mask (colours {_few(colours)}) and no palette is given; "
            "set palette to the RGB triple of each class, or save class ids as 8-bit grey"
        )
    table = {tuple(map(int, colour)): index for index, colour in enumerate(palette)}
    strange = [colour for colour in colours if colour not in table]
    if strange:
        raise UserError(
            f"{path}: holds colours {_few(strange)} that are not in the palette; add them or correct the mask"
        )
    return np.array([table[c] for c in colours], np.uint8)[where.reshape(values.shape[:2])]


def _pack(rgb):
    r, g, b = np.moveaxis(rgb.astype(np.uint32), -1, 0)
    return r << 16 | g << 8 | b


def _read(path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check that it is there and readable") from error
    if not data:
        raise UserError(f"{path}: is empty (0 bytes); copy it again or remove it")
    return data


def _refuse_pages(path, data) -> None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            pages = getattr(image, "n_frames", 1)
    except BROKEN:
        return  # the decoder that follows says what is wrong, or can read what Pillow cannot (16-bit colour)
    if pages > 1:
        raise UserError(f"{path}: holds {pages} pages; save each page as a file of its own")


def _few(values, most: int = 8) -> str:
    values = [v if isinstance(v, tuple) else int(v) for v in values]
    return ", ".join(map(str, values[:most])) + (f", ... ({len(values)} in all)" if len(values) > most else "")


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
