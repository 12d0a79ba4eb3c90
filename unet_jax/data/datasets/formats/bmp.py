"""Decodes BMP."""

import struct

import cv2
import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.formats.declared import Labels

# OpenCV's log lines would repeat our errors.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_image(path: str | Path, data: bytes) -> np.ndarray:
    """Returns the pixels, uint8 `[H, W, 1 or 3]`: alpha is dropped; a palette becomes RGB, or grey if all its colours are grey.

    Raises:
      UserError: the file is too large.
      Exception: the file is damaged.
    """
    _check(path, data)
    return _decode(data)


def read_labels(path: str | Path, data: bytes) -> Labels:
    """Returns the values as stored, without alpha; raises as `read_image`."""
    bits, where, width = _check(path, data)
    if bits > 8:
        return Labels(_decode(data))
    # Pillow misreads indices of 4 bits if the palette is grey. With the plain grey scale as palette, OpenCV gives the indices.
    offset, used = struct.unpack_from("<I", data, 10)[0], _colours_used(data, bits, width)
    grey = np.zeros((2**bits, width), np.uint8)
    grey[:, :3] = np.arange(2**bits)[:, None]
    header = bytearray(data[:where])
    struct.pack_into("<I", header, 10, where + grey.size)
    if width == 4:
        # 0 colours used: as many as there are indices.
        struct.pack_into("<I", header, 46, 0)
    indices = _decode(bytes(header) + grey.tobytes() + data[offset:])[..., 0]
    colours = np.frombuffer(data, np.uint8)[where : where + width * used].reshape(-1, width)[:, 2::-1]
    return Labels(indices, None if declared.plain_grey(colours) else np.ascontiguousarray(colours))


def _check(path, data: bytes) -> tuple[int, int, int]:
    """Returns the bits per pixel, the position of the palette and the number of bytes of one of its colours."""
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    (bits,) = struct.unpack_from("<H", data, 24 if header == 12 else 28)
    declared.check_size(path, abs(width), abs(height), 1 if bits <= 8 else 3)
    return bits, 14 + header, 3 if header == 12 else 4


def _colours_used(data: bytes, bits: int, width: int) -> int:
    used = 0 if width == 3 else struct.unpack_from("<I", data, 46)[0]
    return min(used or 2**bits, 2**bits)


def _decode(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        raise ValueError("the file is damaged or of an unknown kind")
    if pixels.ndim == 2:
        return pixels[..., None]
    # From BGR or BGRA to RGB.
    return np.ascontiguousarray(pixels[..., 2::-1])
