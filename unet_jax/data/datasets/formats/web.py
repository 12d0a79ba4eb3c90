"""Decodes GIF and WebP, with Pillow."""

import io
from collections.abc import Callable

import numpy as np
from etils.epath import Path
from PIL import Image

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.formats.pictures import Pictures
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError


def open_image(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the frames, uint8 `[H, W, 1 or 3]`: grey where all the colours of a palette are grey. Alpha is dropped.

    Raises:
      UserError: the file is too large, or only its alpha shows anything.
      Exception: it is damaged.
    """
    del reading
    opened = _opened(path, data)

    def read(frame: int) -> np.ndarray:
        return _pixels(path, opened, frame)

    return Pictures(opened.n_frames, read)


def open_labels(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the indices of a GIF of one frame; of a lossless WebP, grey values where its channels are equal, else RGB.

    Raises:
      UserError: as `open_image`; the compression is lossy; pixels are transparent in a WebP, whose writers change their colours; or
        a GIF has several frames, which may be in colours of their own.
      Exception: the file is damaged.
    """
    del reading
    opened = _opened(path, data)
    if opened.format == "GIF":
        if opened.n_frames > 1:
            raise UserError(
                f"{path}: is a GIF of {opened.n_frames} frames, whose indices are not kept; save the masks as PNG"
            )
        return _indices(opened)
    if b"VP8 " in _chunks(data):
        raise UserError(f"{path}: has lossy compression, which changes ids; save the mask as lossless WebP or PNG")
    return Pictures(opened.n_frames, lambda frame: _without_colour(_pixels(path, opened, frame, is_mask=True)))


def _opened(path, data: bytes):
    opened = Image.open(io.BytesIO(data), formats=("GIF", "WEBP"))
    declared.check_size(path, *opened.size, 4)
    return opened


def _indices(opened) -> Pictures:
    colours = np.array(opened.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    values = np.array(opened)
    if values.ndim == 3:
        raise ValueError("its first frame has no palette")
    return Pictures(1, lambda frame: values, None if declared.plain_grey(colours) else colours)


def _pixels(path, opened, frame: int, is_mask: bool = False) -> np.ndarray:
    opened.seek(frame)
    rgba = np.array(opened.convert("RGBA"))
    if is_mask and (rgba[..., 3] != 255).any():
        raise UserError(f"{path}: has transparent pixels, whose ids a WebP need not keep; save the mask as PNG")
    pixels = declared.without_alpha(path, rgba, 3)
    return _grey_if(lambda: opened.format == "GIF", pixels)


def _grey_if(may_be_grey: Callable[[], bool], pixels: np.ndarray) -> np.ndarray:
    is_grey = may_be_grey() and (pixels == pixels[..., :1]).all()
    return np.ascontiguousarray(pixels[..., :1]) if is_grey else pixels


def _without_colour(pixels: np.ndarray) -> np.ndarray:
    return _grey_if(lambda: True, pixels)


def _chunks(data: bytes) -> set[bytes]:
    """Returns the names of the chunks of a WebP, those of its frames included."""
    found, place = set(), 12
    while place + 8 <= len(data):
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        found.add(name)
        # A frame has 16 bytes before its own chunks.
        place += 24 if name == b"ANMF" else 8 + length + length % 2
    return found
