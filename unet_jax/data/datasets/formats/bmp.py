"""Decodes BMP."""

import struct

import cv2
import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.formats.declared import Labels
from unet_jax.errors import UserError

# Bytes of the header of each kind of BMP: OS/2 1, Windows 3, its two extensions, OS/2 2, Windows 4 and 5.
HEADERS = (12, 40, 52, 56, 64, 108, 124)

# Compressions, and marks of run lengths.
RLE8, RLE4, BIT_FIELDS = 1, 2, 3
END, SKIP = 1, 2

# Numbers of bits per pixel that are read, and the bits of red, green and blue that a header without them means.
BITS = (1, 4, 8, 24, 32)
COLOUR_BITS = (0xFF0000, 0xFF00, 0xFF)

# OpenCV's log lines would repeat our errors.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_image(path: str | Path, data: bytes) -> np.ndarray:
    """Returns the pixels, uint8 `[H, W, 1 or 3]`: alpha is dropped; a palette becomes RGB, or grey if all its colours are grey.

    Raises:
      UserError: the file is too large, or has another number of bits or another order of colours than is read.
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
    if header not in HEADERS:
        raise ValueError(f"its header has {header} bytes, which no kind of BMP has")
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    (bits,) = struct.unpack_from("<H", data, 24 if header == 12 else 28)
    declared.check_size(path, abs(width), abs(height), 1 if bits <= 8 else 3)
    compression = 0 if header == 12 else struct.unpack_from("<I", data, 30)[0]
    if bits not in BITS:
        raise UserError(f"{path}: is a BMP of {bits} bits per pixel; save it with 8 bits (grey) or 24 bits (RGB)")
    # OpenCV reads these bits from the longer headers only.
    if compression == BIT_FIELDS and header < 56 and struct.unpack_from("<III", data, 54) != COLOUR_BITS:
        raise UserError(f"{path}: is a BMP whose colours have an unusual order in a pixel; save it as PNG or TIFF")
    if compression in (RLE8, RLE4):
        _check_runs(data, struct.unpack_from("<I", data, 10)[0], width, abs(height), compression)
    return bits, 14 + header, 3 if header == 12 else 4


def _check_runs(data: bytes, at: int, width: int, height: int, compression: int) -> None:
    """Raises ValueError if run lengths leave pixels out, which OpenCV takes for 0; IndexError if the file is cut short."""
    rows = column = 0
    end = False
    while not end:
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            column += count
        elif value > SKIP:
            # So many pixels one by one, in an even number of bytes.
            column += value
            at += (-(-value // (2 if compression == RLE4 else 1)) + 1) // 2 * 2
        elif value == SKIP:
            raise ValueError("its run lengths leave pixels out")
        else:
            end = value == END
            # The end of the last row may be that of the picture.
            if column or not end:
                # A run of 4 bits may end with half a byte too much.
                if not 0 <= column - width <= (compression == RLE4):
                    raise ValueError(f"its row {rows} has {column} of {width} pixels")
                rows, column = rows + 1, 0
    if rows != height:
        raise ValueError(f"it has {rows} of {height} rows")


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
