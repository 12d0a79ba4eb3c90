"""Normalises pixel values in the same way in training, evaluation and prediction."""

import numpy as np

from unet_jax.errors import UserError

NORMALIZATIONS = ("image", "range")


def statistics(image: np.ndarray, mode: str = "image") -> tuple[np.float32, np.float32]:
    """Returns the offset and the divisor that `normalize` uses for an image.

    In the mode "image" they are the mean and the standard deviation over all pixels and channels. If the standard deviation
    is 0 as a float32, the divisor is 1. No larger threshold is used: it would turn images of small numbers, such as floats
    in physical units, into 0. A constant image becomes 0 with any divisor, because its mean rounds to its value.

    Args:
      image: the whole image, uint8, uint16 or float32 `[H, W, C]`.
      mode: "image" or "range". In the mode "range" the offset is 0, and the divisor is the largest value of the type: 255
        or 65535. For float32, whose values are expected in 0..1, it is 1.

    Raises:
      UserError: the pixel type or the mode is not one of these.
    """
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise UserError(f"image has pixels of type {image.dtype}; give uint8, uint16 or float32 pixels")
    is_float = image.dtype == np.float32
    if mode == "range":
        return np.float32(0), np.float32(1 if is_float else np.iinfo(image.dtype).max)
    if mode == "image":
        mean = image.mean(dtype=np.float64)
        if is_float:
            # The mean of the squares minus the squared mean would lose every digit where the mean is large.
            std = image.std(dtype=np.float64)
        else:
            std = np.sqrt(max(np.square(image, dtype=np.float64).mean() - mean**2, 0.0))
        divisor = np.float32(std)
        return np.float32(mean), divisor if divisor > 0 else np.float32(1)
    raise UserError(f"normalize={mode!r} is unknown; choose one of {', '.join(NORMALIZATIONS)}")


def normalize(image: np.ndarray, mode: str = "image", stats: tuple[np.float32, np.float32] | None = None) -> np.ndarray:
    """Returns the normalised image, float32 `[H, W, C]`.

    >>> image = np.array([[[0], [255]]], np.uint8)
    >>> normalize(image).ravel().tolist()
    [-1.0, 1.0]
    >>> normalize(image, "range").ravel().tolist()
    [0.0, 1.0]

    Args:
      image: uint8, uint16 or float32 `[H, W, C]`.
      mode: "image" for zero mean and unit variance over all pixels and channels; "range" for values in 0..1.
      stats: the `statistics` of the whole image; needed if `image` is only a window of it.
    """
    offset, divisor = statistics(image, mode) if stats is None else stats
    return (image.astype(np.float32) - offset) / divisor


def check_depth(what: str, dtype: str, trained: str, mode: str) -> None:
    """Checks that images have the depth that a network was trained on, where the depth changes what it sees.

    The mode "range" divides by the largest value of the type. So an image of 12 bits in a file of 16 would be a sixteenth as
    bright for a network that was trained on 8 bits. The mode "image" gives the same numbers at every depth.

    Args:
      what: the images, for the error.
      dtype: their pixel type.
      trained: the pixel type that the network was trained on; "" if it is not known.
      mode: see `normalize`.

    Raises:
      UserError: the mode is "range", and the two types are not the same.
    """
    if mode == "range" and trained and dtype != trained:
        raise UserError(
            f"{what} has {_bits(dtype)} pixels, and the network was trained on {_bits(trained)} ones with "
            f"data.normalize='range', which divides by the largest value of the type; give {_bits(trained)} pixels, or train "
            "with data.normalize='image'"
        )


def _bits(dtype: str) -> str:
    return f"{8 * np.dtype(dtype).itemsize}-bit ({dtype})"
