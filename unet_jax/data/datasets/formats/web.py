"""Decodes GIF and WebP, with Pillow. The frames of an animation are a stack, each as it is shown."""

import io
import threading
from typing import Any

import numpy as np
from etils.epath import Path
from PIL import Image

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.formats.pictures import Pictures
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

# A WebP is RGB; a mask whose channels are equal is taken for an index and its grey, which any palette may name.
GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)


def open_image(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the frames, uint8 `[H, W, 1 or 3]`: of a GIF grey where all pixels are grey. Alpha is dropped.

    Raises:
      UserError: the file is too large, is to be turned, or only its alpha shows anything.
      Exception: it is damaged.
    """
    del reading
    opened, lock = _opened(path, data), threading.Lock()

    def read(frame: int) -> np.ndarray:
        with lock:
            pixels = declared.without_alpha(path, _rgba(opened, frame), 3)
        return pixels[..., :1] if opened.format == "GIF" and _is_grey(pixels) else pixels

    return Pictures(opened.n_frames, read)


def open_labels(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the masks of a file.

    Of a GIF these are grey values where all colours of its palette are grey, else indices. Of a lossless WebP they are grey
    values where the channels of all pixels are equal, else RGB.

    Raises:
      UserError: as `open_image`; the compression is lossy; pixels are transparent in a WebP, whose writers change their colours; a
        GIF has several frames, which may be in colours of their own.
      Exception: the file is damaged.
    """
    del reading
    opened, lock = _opened(path, data), threading.Lock()
    if opened.format == "GIF":
        return _indices(path, opened)
    if b"VP8 " in _chunks(data):
        raise UserError(f"{path}: has lossy compression, which changes ids; save the mask as lossless WebP or PNG")

    def read(frame: int) -> np.ndarray:
        with lock:
            rgba = _rgba(opened, frame)
        if (rgba[..., 3] != 255).any():
            raise UserError(f"{path}: has transparent pixels, whose ids a WebP need not keep; save the mask as PNG")
        return rgba[..., 0] if _is_grey(rgba[..., :3]) else np.ascontiguousarray(rgba[..., :3])

    return Pictures(opened.n_frames, read, GREYS)


def _opened(path, data: bytes) -> Any:
    opened: Any = Image.open(io.BytesIO(data), formats=("GIF", "WEBP"))
    width, height = opened.size
    declared.check_size(path, width, height, 4)
    exif, xmp = opened.info.get("exif", b""), opened.info.get("xmp", b"")
    orientations = [declared.orientation_in_exif(exif.removeprefix(b"Exif\0\0")), declared.orientation_in_xmp(xmp)]
    declared.check_orientation(path, orientations)
    return opened


def _indices(path, opened: Any) -> Pictures:
    if opened.n_frames > 1:
        raise UserError(
            f"{path}: is a GIF of {opened.n_frames} frames, whose indices are not kept; save the masks as PNG"
        )
    values = np.array(opened)
    if values.ndim == 3:
        raise ValueError("its first frame has no palette")
    colours = np.array(opened.getpalette("RGB") or GREYS, np.uint8).reshape(-1, 3)
    # A GIF has no grey scale. Writers of grey values store those that occur as a palette, so the index of a value may be any.
    return (
        Pictures(1, lambda frame: colours[values, 0], GREYS)
        if _is_grey(colours)
        else Pictures(1, lambda frame: values, colours)
    )


def _rgba(opened: Any, frame: int) -> np.ndarray:
    opened.seek(frame)
    return np.array(opened.convert("RGBA"))


def _is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _chunks(data: bytes) -> set[bytes]:
    """Returns the names of the chunks of a WebP, those of its frames included."""
    names, place = set(), 12
    while place + 8 <= len(data):
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        names.add(name)
        # A frame has 16 bytes before its own chunks.
        place += 24 if name == b"ANMF" else 8 + length + length % 2
    return names
