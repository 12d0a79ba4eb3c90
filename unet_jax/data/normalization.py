"""Normalises pixel values in the same way in training, evaluation and prediction."""

import itertools
import math
from collections.abc import Iterable

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
        return _offset_and_divisor(mean, std)
    raise UserError(f"normalize={mode!r} is unknown; choose one of {', '.join(NORMALIZATIONS)}")


def _offset_and_divisor(mean: float, std: float) -> tuple[np.float32, np.float32]:
    divisor = np.float32(std)
    return np.float32(mean), divisor if divisor > 0 else np.float32(1)


def statistics_of_bands(bands: Iterable[np.ndarray], mode: str = "image") -> tuple[np.float32, np.float32]:
    """Returns the `statistics` of an image that is given in bands, so that it need not fit into memory.

    Whole numbers are counted by value, and the sums over the counts are exact. Of floats, the mean and the sum of squared
    deviations of each band are merged (Chan, Golub and LeVeque 1979), which loses no digits where the mean is large.

    >>> image = np.arange(12, dtype=np.uint8).reshape(4, 3, 1)
    >>> statistics_of_bands([image[:3], image[3:]]) == statistics(image)
    True

    Args:
      bands: `[h, W, C]` each, of one type, at least one; together they are the image.
      mode: as in `statistics`.

    Raises:
      UserError: as `statistics`; or a float is NaN or Inf or, in the mode "range", outside 0..1.
    """
    iterator = iter(bands)
    first = next(iterator)
    # Also checks the type and the mode.
    of_type = statistics(first, mode)
    every = itertools.chain([first], iterator)
    if first.dtype == np.float32:
        mean, std = _float_moments(every, mode)
        return of_type if mode == "range" else _offset_and_divisor(mean, std)
    if mode == "range":
        return of_type
    return _offset_and_divisor(*_integer_moments(every, int(np.iinfo(first.dtype).max) + 1))


def _integer_moments(bands: Iterable[np.ndarray], num_values: int) -> tuple[float, float]:
    """Returns mean and standard deviation of whole numbers below `num_values`."""
    histogram = np.zeros(num_values, np.int64)
    for band in bands:
        histogram += np.bincount(band.ravel(), minlength=num_values)
    # Python's whole numbers have no largest one.
    counts = [(int(value), int(histogram[value])) for value in np.flatnonzero(histogram)]
    number = sum(count for _, count in counts)
    mean = sum(value * count for value, count in counts) / number
    # The formula of `statistics`: where its sums are exact too, below 2**53, the two are bit-equal.
    squares = sum(value * value * count for value, count in counts) / number
    return mean, math.sqrt(max(squares - mean**2, 0.0))


def _float_moments(bands: Iterable[np.ndarray], mode: str) -> tuple[float, float]:
    """Returns mean and standard deviation of float32 values; raises the errors of `check_floats`."""
    number, mean, squares = 0, 0.0, 0.0
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for band in bands:
        # NaN passes through.
        low, high = np.minimum(low, band.min()), np.maximum(high, band.max())
        check_floats(low, high)
        band_mean = float(band.mean(dtype=np.float64))
        step, total = band_mean - mean, number + band.size
        squares += float(band.var(dtype=np.float64)) * band.size + step**2 * number / total * band.size
        mean += step * band.size / total
        number = total
    check_floats(low, high, mode)
    return mean, math.sqrt(squares / number)


def check_floats(low: np.floating, high: np.floating, mode: str = "image") -> None:
    """Checks the values of an image of floats.

    Args:
      low: the smallest value, NaN if one is.
      high: the largest value, NaN if one is.
      mode: see `normalize`.

    Raises:
      UserError: a value is NaN or Inf or, in the mode "range", outside 0..1.
    """
    if not np.isfinite([low, high]).all():
        raise UserError("the image holds NaN or Inf; replace them first")
    if mode == "range" and (low < 0 or high > 1):
        raise UserError(
            f"float image with values {low:g} to {high:g}: data.normalize is 'range'; give values from 0 to 1"
        )


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
