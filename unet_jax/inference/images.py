"""Checks and channels of the arrays that a network takes as images."""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from unet_jax.data.nan_pixels import check_unknown
from unet_jax.data.normalization import check_depth, check_range
from unet_jax.errors import UserError

# ITU-R BT.601.
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
ONE_IMAGE = "give a NumPy array of pixels"
# Pillow's modes whose numbers are grey or RGB. Those of other modes are indices, or other colours.
PILLOW_MODES = ("L", "F", "RGB", "RGBA", "I;16", "I;16L", "I;16B")


def as_array(image: object) -> np.ndarray:
    """Returns an image as an array, if it is one or can be one.

    Raises:
      UserError: the image is None, a path, or another thing without numbers; pixels of it are masked; or it is a Pillow
        image whose numbers are neither grey nor RGB.
    """
    if image is None:
        raise UserError("image is None: the file was probably not read; check its path")
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        raise UserError(
            f"image {path!r} is of type {type(image).__name__}: give its pixels, unet_jax.read_image({path!r})"
        )
    if isinstance(image, Image.Image) and image.mode not in PILLOW_MODES:
        raise UserError(
            f"image is a Pillow image of mode {image.mode!r}: convert it to one of {', '.join(PILLOW_MODES[:4])}"
        )
    if np.ma.is_masked(image):
        raise UserError(
            "pixels of the image are masked, and what lies under them would count; fill them first: image.filled(VALUE)"
        )
    try:
        array = np.asarray(image)
    except Exception as error:
        # A list of images of several sizes, a file of Pillow that is cut short, a tensor on a device, ...
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"image is of type {type(image).__name__} and cannot be an array ({reason}); {ONE_IMAGE}"
        ) from error
    if array.dtype.kind not in "biufcV":
        raise UserError(f"image is of type {type(image).__name__}: {ONE_IMAGE}")
    return array


def check_image(
    image: np.ndarray, normalize: str, dtype: str = "", value_range: Sequence[float] = (), nan: str = "error"
) -> np.ndarray:
    """Returns an image as uint8, uint16 or float32 `[H, W, C]`; infinite values become NaN.

    Args:
      image: `[H, W]` or `[H, W, C]`.
      normalize: see `data.normalization`.
      dtype: the pixel type of the images that the network was trained on; "" if it is not known.
      value_range: see `data.normalization`.
      nan: "error" refuses pixels that are NaN or infinite, "void" takes them; see `data.nan_pixels`.

    Raises:
      UserError: as `as_pixels`; the image holds NaN or Inf where `nan` is "error"; or, for "range" by the type, floats outside
        0..1.
    """
    image = as_pixels(image, normalize, dtype, value_range)
    if image.dtype == np.float32:
        if nan == "error":
            check_unknown(image)
        if normalize == "range" and not value_range:
            check_range([image])
    return image


def as_pixels(image: np.ndarray, normalize: str, dtype: str, value_range: Sequence[float]) -> np.ndarray:
    """Returns an image, or some rows of one, as `check_image` does, whatever its values are.

    Raises:
      UserError: the image has another rank or type, is empty, or, for "range" by the type, has whole numbers of another type
        than `dtype`.
    """
    image = as_array(image)
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.size == 0:
        raise UserError(f"image of shape {image.shape}: give [H, W] or [H, W, C], with no size 0")
    # Some files are read in the other order of bytes.
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype in (np.uint8, np.uint16):
        check_depth("the image", str(image.dtype), dtype, normalize, value_range)
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"image of type {image.dtype}: give uint8, uint16 or float")
    # A number beyond float32 becomes Inf.
    with np.errstate(over="ignore"):
        image = image.astype(np.float32, copy=False)
    # The luminance of Inf and -Inf would be a warning.
    return np.where(np.isinf(image), np.float32(np.nan), image) if np.isinf(image).any() else image


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Returns an image `[H, W, C']` with `channels` channels, of which grey (1) and RGB (3) are converted into each other.

    Grey is repeated, RGB becomes luminance, and the alpha of RGBA is dropped. Other channels have no such meaning, so an image
    with them must have as many as the network takes.

    >>> to_channels(np.array([[[255, 0, 0]]], np.uint8), 1).tolist()
    [[[76]]]

    Raises:
      UserError: the channels cannot be converted.
    """
    if image.shape[-1] == channels:
        return image
    colour = image[..., :3] if image.shape[-1] == 4 and channels in (1, 3) else image
    if colour.shape[-1] == 3 and channels == 1:
        grey = colour.astype(np.float32) @ LUMINANCE
        grey = grey if np.issubdtype(image.dtype, np.floating) else np.rint(grey)
        return grey.astype(image.dtype)[..., None]
    if colour.shape[-1] == 1 and channels == 3:
        return np.repeat(colour, channels, axis=-1)
    if colour.shape[-1] == channels:
        return colour
    remedy = "several grey images go in as [B, H, W, 1]"
    if channels not in (1, 3):
        remedy = f"give images of the same {channels} channels, in the order of the training images"
    elif image.shape[-1] > 4 or image.shape[-1] == 2:
        remedy = f"give {'grey or RGB' if channels == 3 else 'grey'} images; {remedy}"
    raise UserError(
        f"image of shape {image.shape} has {image.shape[-1]} channels, the network takes {channels}; {remedy}"
    )
