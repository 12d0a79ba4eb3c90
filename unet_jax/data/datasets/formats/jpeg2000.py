"""Decodes JPEG 2000, with imagecodecs."""

import imagecodecs
import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.formats.declared import Labels
from unet_jax.data.datasets.formats.pictures import to_image_type
from unet_jax.errors import UserError

# The marker that begins a codestream, and the one with the size of the picture that follows it.
START = b"\xff\x4f\xff\x51"


def read_image(path: str | Path, data: bytes) -> np.ndarray:
    """Returns the pixels, `[H, W, 1 or 3]`: uint8 or uint16, and float32 for signed values.

    Values of less than 8 bits are stretched to 0..255.

    Raises:
      UserError: the picture is too large, or has other channels.
      Exception: the file is damaged.
    """
    at = data.find(START)
    if at < 0:
        raise ValueError("it holds no codestream")
    width, height, left, top = (int.from_bytes(data[at + 8 + 4 * k : at + 12 + 4 * k], "big") for k in range(4))
    channels = int.from_bytes(data[at + 40 : at + 42], "big")
    declared.check_size(path, width - left, height - top, 2 * channels)
    pixels = imagecodecs.jpeg2k_decode(data)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[-1] not in (1, 3):
        raise UserError(f"{path}: has {pixels.shape[-1]} channels, and alpha may be one of them; save it as TIFF")
    # The number of bits less one, and in the highest bit the sign.
    bits = data[at + 42] + 1
    if bits < 8:
        pixels = (pixels.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    return to_image_type(pixels)


def read_labels(path: str | Path, data: bytes) -> Labels:
    """Raises UserError: nothing in a file tells if its values are those that were saved."""
    del data
    raise UserError(
        f"{path}: is a mask of JPEG 2000, whose values may have been changed: a file does not tell if it was cut to a rate; export it "
        "again as PNG"
    )
