"""Decodes PNG.

All check sums are verified. Chunks that only change how colours are displayed (gAMA, cHRM, iCCP, sRGB, sBIT) are ignored.
"""

import io
import struct
import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np
from etils.epath import Path
from PIL import Image

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.formats.declared import Labels
from unet_jax.errors import UserError

# Colour types.
GREY, RGB, PALETTE, GREY_ALPHA = 0, 2, 3, 4
# Channels by colour type, with alpha.
CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}

# Pillow takes very large images for an attack; here they are scans.
Image.MAX_IMAGE_PIXELS = None


def read_image(path: str | Path, data: bytes) -> np.ndarray:
    """Returns the pixels, uint8 or uint16 `[H, W, 1 or 3]`: alpha is dropped, a palette becomes RGB.

    Grey of 1, 2 and 4 bits is stretched to 0..255.

    Raises:
      UserError: the file is refused for what it declares.
      Exception: the file is damaged.
    """
    _, colour_type, _ = _check(path, data)
    pixels = imagecodecs.png_decode(data)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return declared.without_alpha(path, pixels, 1 if colour_type in (GREY, GREY_ALPHA) else 3)


def read_labels(path: str | Path, data: bytes) -> Labels:
    """Returns the values as stored, without alpha; raises as `read_image`, and for 16-bit RGB."""
    bits, colour_type, palette = _check(path, data)
    if colour_type == PALETTE:
        # imagecodecs expands the palette, and Pillow takes rows that are missing for 0: the one checks, the other decodes.
        imagecodecs.png_decode(data)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
            return Labels(np.asarray(image), None if declared.plain_grey(colours) else colours)
    pixels = imagecodecs.png_decode(data)
    if colour_type in (GREY, GREY_ALPHA):
        values = declared.without_alpha(path, pixels, 1)[..., 0] if pixels.ndim == 3 else pixels
        return Labels(values // (255 // (2**bits - 1)) if bits < 8 else values)
    if bits == 16:
        raise UserError(f"{path}: is a mask of 16-bit RGB; save it as 8-bit RGB, or as class ids in 8-bit grey")
    return Labels(declared.without_alpha(path, pixels, 3))


def _check(path, data: bytes) -> tuple[int, int, bytes]:
    """Returns (bits per channel, colour type, palette)."""
    palette, orientations = b"", []
    width = height = bits = colour_type = 0
    for kind, content in _chunks(data):
        if kind == b"IHDR":
            width, height, bits, colour_type = struct.unpack_from(">IIBB", content)
            bytes_per_pixel = CHANNELS.get(colour_type, 1) * (2 if bits == 16 else 1)
            declared.check_size(path, width, height, bytes_per_pixel)
        elif kind == b"PLTE":
            palette = content
        elif kind == b"acTL" and struct.unpack_from(">I", content)[0] > 1:
            frames = struct.unpack_from(">I", content)[0]
            raise UserError(f"{path}: is an animation of {frames} pictures; save each as a separate file")
        elif kind == b"eXIf":
            orientations.append(declared.orientation_in_exif(content.removeprefix(b"Exif\0\0")))
        elif kind in (b"iTXt", b"zTXt", b"tEXt"):
            orientations.append(_orientation_in_text(kind, content))
    declared.check_orientation(path, orientations)
    if colour_type == PALETTE and not palette:
        raise ValueError("its palette is missing")
    return bits, colour_type, palette


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and content of each chunk, without the contents of IDAT."""
    at, kind = 8, b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError("the file is cut short")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise ValueError("the file is cut short")
        content = memoryview(data)[at + 8 : end]
        if zlib.crc32(content, zlib.crc32(kind)) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError(f"the check sum of chunk {kind.decode('latin1')!r} is wrong: the file is damaged")
        yield kind, b"" if kind == b"IDAT" else bytes(content)
        at = end + 4


def _orientation_in_text(kind: bytes, content: bytes) -> int:
    """Returns the orientation in a text chunk: XMP, or EXIF as ImageMagick writes it, in hexadecimal digits."""
    keyword, _, rest = content.partition(b"\0")
    if keyword not in (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type APP1"):
        return 1
    try:
        if kind == b"zTXt":
            rest = zlib.decompress(rest[1:])
        elif kind == b"iTXt":
            # Flag and method of the compression; language and translated keyword end with a zero byte each.
            compressed, rest = rest[0], rest[2:].split(b"\0", 2)[2]
            rest = zlib.decompress(rest) if compressed else rest
        if keyword.startswith(b"XML"):
            return declared.orientation_in_xmp(rest)
        # The name of the profile, its length, and its digits in lines.
        digits = b"".join(rest.split()[2:])
        return declared.orientation_in_exif(bytes.fromhex(digits.decode("ascii")).removeprefix(b"Exif\0\0"))
    except (zlib.error, ValueError, IndexError):
        return 1
