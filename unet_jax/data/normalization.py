"""Normalisation of pixel values, the same in training, evaluation and prediction."""

import numpy as np

from unet_jax.errors import UserError

NORMALIZATIONS = ("image", "range")


def statistics(image: np.ndarray, mode: str = "image") -> tuple[np.float32, np.float32]:
    """Returns the offset and the divisor that `normalize` uses for an image.

    With the mode "image" they are mean and standard deviation of all pixels and channels. The divisor is 1 only where the
    standard deviation is 0 as a float32. A larger threshold would blank images of small numbers, such as floats in physical
    units. Rounding needs none: the mean of a constant image rounds to its value, so the image becomes 0 with any divisor.

    Args:
      image: the whole image, uint8, uint16 or float32 `[H, W, C]`.
      mode: "image"; or "range": the divisor is the largest value of the type, 255 or 65535, and 1 for float32, whose values
        are in 0..1 already.

    Raises:
      UserError: the type or the mode is another one.
    """
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise UserError(f"image is {image.dtype}; give uint8, uint16 or float32 pixels")
    is_float = image.dtype == np.float32
    if mode == "range":
        return np.float32(0), np.float32(1 if is_float else np.iinfo(image.dtype).max)
    if mode == "image":
        mean = image.mean(dtype=np.float64)
        if is_float:
            # Not from the mean of the squares: the difference loses every digit where the mean is large.
            std = image.std(dtype=np.float64)
        else:
            std = np.sqrt(max(np.square(image, dtype=np.float64).mean() - mean**2, 0.0))
        divisor = np.float32(std)
        return np.float32(mean), divisor if divisor > 0 else np.float32(1)
    raise UserError(f"normalize={mode!r} is unknown; use one of {', '.join(NORMALIZATIONS)}")


def normalize(image: np.ndarray, mode: str = "image", stats: tuple[np.float32, np.float32] | None = None) -> np.ndarray:
    """Returns a normalised image, float32 `[H, W, C]`.

    Args:
      image: uint8, uint16 or float32 `[H, W, C]`.
      mode: "image": zero mean and unit variance over all pixels and channels; "range": 0..1.
      stats: the `statistics` of the whole image, if `image` is a window of it.
    """
    offset, divisor = statistics(image, mode) if stats is None else stats
    return (image.astype(np.float32) - offset) / divisor
