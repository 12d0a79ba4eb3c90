"""Normalises pixel values in the same way in training, evaluation and prediction.

Pixels that are NaN or infinite (see `nan_pixels`) count in no statistic, and become 0 in every channel.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from unet_jax.data.nan_pixels import known_values, unknown_pixels
from unet_jax.data.percentiles import percentiles_of_bands
from unet_jax.errors import UserError

NORMALIZATIONS = ("image", "range", "image_channels", "percentile")
# Those of the mode "percentile" that become 0 and 1.
PERCENTILES = (1, 99)

# Offset and divisor: numbers, or float32 `[C]`.
Stats = tuple[np.float32 | np.ndarray, np.float32 | np.ndarray]


def statistics(image: np.ndarray, mode: str = "image", value_range: Sequence[float] = ()) -> Stats:
    """Returns the offset and the divisor that `normalize` uses for an image.

    "image": mean and standard deviation over all pixels and channels. "image_channels": those of each channel.
    "percentile": of each channel the 1st percentile, and its distance to the 99th, so that these two become 0 and 1; few bright
    pixels then do not darken the rest. "range": 0, and the largest value of the type: 255, 65535, or 1 for float32, whose values
    are expected in 0..1; with `value_range` its lower end and its width, for every type. Values beyond these ends or percentiles
    are not cut off: they become less than 0 or more than 1.

    A divisor that is 0 as a float32 is 1 instead. No larger threshold is used: it would turn images of small numbers, such as
    floats in physical units, into 0. A constant image becomes 0 with any divisor, because its mean rounds to its value.

    Args:
      image: the whole image, uint8, uint16 or float32 `[H, W, C]`.
      mode: one of `NORMALIZATIONS`.
      value_range: the values that become 0 and 1 in the mode "range"; () for those of the type.

    Raises:
      UserError: the pixel type or the mode is not one of these.
    """
    _check(image, mode)
    if mode == "range":
        return _of_range(image.dtype, value_range)
    values = known_values(image)
    if not values.size:
        return np.float32(0), np.float32(1)
    if mode != "image":
        return _of_channels([values.reshape(-1, values.shape[-1])], mode)
    mean = values.mean(dtype=np.float64)
    if values.dtype == np.float32:
        # The mean of the squares minus the squared mean would lose every digit where the mean is large.
        std = values.std(dtype=np.float64)
    else:
        std = np.sqrt(max(np.square(values, dtype=np.float64).mean() - mean**2, 0.0))
    return _offset_and_divisor(mean, std)


def _check(image: np.ndarray, mode: str) -> None:
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise UserError(f"image has pixels of type {image.dtype}; give uint8, uint16 or float32 pixels")
    if mode not in NORMALIZATIONS:
        raise UserError(f"normalize={mode!r} is unknown; choose one of {', '.join(NORMALIZATIONS)}")


def _of_range(dtype: np.dtype, value_range: Sequence[float]) -> Stats:
    if value_range:
        low, high = value_range
        return np.float32(low), np.float32(high - low)
    return np.float32(0), np.float32(1 if dtype == np.float32 else np.iinfo(dtype).max)


def _of_channels(bands: Iterable[np.ndarray], mode: str) -> Stats:
    """Returns the statistics of each channel of bands `[N, C]`."""
    if mode == "percentile":
        low, high = percentiles_of_bands(bands, PERCENTILES)
        return _offset_and_divisor(low, high - low)
    return _offset_and_divisor(*_moments(bands))


def _offset_and_divisor(mean: float | np.ndarray, std: float | np.ndarray) -> Stats:
    divisor = np.float32(std)
    return np.float32(mean), np.where(divisor > 0, divisor, np.float32(1))[()]


def statistics_of_bands(bands: Iterable[np.ndarray], mode: str = "image", value_range: Sequence[float] = ()) -> Stats:
    """Returns the `statistics` of an image that is given in bands, so that it need not fit into memory.

    Whole numbers are counted by value, and the sums over the counts are exact. Of floats, the mean and the sum of squared
    deviations of each band are merged (Chan, Golub and LeVeque 1979), which loses no digits where the mean is large. Percentiles
    are exact (see `percentiles`), and those of the whole image are found by the same code.

    >>> image = np.arange(12, dtype=np.uint8).reshape(4, 3, 1)
    >>> statistics_of_bands([image[:3], image[3:]]) == statistics(image)
    True

    Args:
      bands: `[h, W, C]` each, of one type, at least one; together they are the image. For statistics of each channel they can be
        read again from the start, as a list can.
      mode: as in `statistics`.
      value_range: as in `statistics`.

    Raises:
      UserError: as `statistics`; or a float is beyond 0..1 in the mode "range" without `value_range`.
    """
    iterator = iter(bands)
    first = next(iterator)
    _check(first, mode)
    if mode == "range":
        if first.dtype == np.float32 and not value_range:
            check_range(itertools.chain([first], iterator))
        return _of_range(first.dtype, value_range)
    known = KnownBands(itertools.chain([first], iterator) if mode == "image" else bands)
    if mode != "image":
        return _of_channels(known, mode) if any(band.size for band in known) else (np.float32(0), np.float32(1))
    mean, std = _moments(band.reshape(-1, 1) for band in known)
    return _offset_and_divisor(mean[0], std[0])


class KnownBands:
    """The known values of the bands of an image, `[N, C]` each; see `nan_pixels`. It can be read as often as the bands.

    Args:
      bands: `[h, W, C]` each.
    """

    def __init__(self, bands: Iterable[np.ndarray]):
        self._bands = bands

    def __iter__(self) -> Iterator[np.ndarray]:
        for band in self._bands:
            values = known_values(band)
            yield values.reshape(-1, values.shape[-1])


def _moments(bands: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each channel of bands `[N, C]`."""
    iterator = iter(bands)
    first = next(iterator)
    every = itertools.chain([first], iterator)
    return _float_moments(every) if first.dtype == np.float32 else _integer_moments(every, first)


def _integer_moments(bands: Iterable[np.ndarray], like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the `_moments` of whole numbers, of the type and with the channels of `like`."""
    histograms = np.zeros((like.shape[-1], int(np.iinfo(like.dtype).max) + 1), np.int64)
    for band in bands:
        for channel, histogram in enumerate(histograms):
            histogram += np.bincount(band[:, channel], minlength=len(histogram))
    moments = []
    for histogram in histograms:
        # Python's whole numbers have no largest one.
        counts = [(int(value), int(histogram[value])) for value in np.flatnonzero(histogram)]
        number = sum(count for _, count in counts)
        mean = sum(value * count for value, count in counts) / number
        # The formula of `statistics`: where its sums are exact too, below 2**53, the two are bit-equal.
        squares = sum(value * value * count for value, count in counts) / number
        moments.append((mean, math.sqrt(max(squares - mean**2, 0.0))))
    mean, std = np.array(moments).T
    return mean, std


def _float_moments(bands: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the `_moments` of float32 numbers; 0 where there is none."""
    number, mean, squares = 0, np.zeros(1), np.zeros(1)
    for band in bands:
        if not len(band):
            continue
        # Contiguous: NumPy adds the values of a row in pairs, those of a column one after the other.
        columns = np.ascontiguousarray(band.T)
        band_mean = columns.mean(axis=1, dtype=np.float64)
        step, total = band_mean - mean, number + len(band)
        squares = squares + columns.var(axis=1, dtype=np.float64) * len(band) + step**2 * number / total * len(band)
        mean = mean + step * len(band) / total
        number = total
    return mean, np.sqrt(squares / max(number, 1))


def check_range(bands: Iterable[np.ndarray]) -> None:
    """Checks that the known values of a float image lie in 0..1, which the mode "range" expects.

    Args:
      bands: `[h, W, C]` each; together they are the image.

    Raises:
      UserError: a value does not.
    """
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for values in map(known_values, bands):
        low, high = values.min(initial=low), values.max(initial=high)
    if low < 0 or high > 1:
        raise UserError(
            f"float image with values {low:g} to {high:g}: data.normalize is 'range'; give values from 0 to 1, or train with "
            "data.range=(LOW, HIGH)"
        )


def normalize(
    image: np.ndarray, mode: str = "image", stats: Stats | None = None, value_range: Sequence[float] = ()
) -> np.ndarray:
    """Returns the normalised image, float32 `[H, W, C]`.

    >>> image = np.array([[[0], [255]]], np.uint8)
    >>> normalize(image).ravel().tolist()
    [-1.0, 1.0]
    >>> normalize(image, "range").ravel().tolist()
    [0.0, 1.0]
    >>> normalize(np.array([[[1, 5], [3, 7], [np.nan, 6]]], np.float32), "image_channels")[0].tolist()
    [[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]

    Args:
      image: uint8, uint16 or float32 `[H, W, C]`.
      mode: "image" for zero mean and unit variance over all pixels and channels, "image_channels" for those of each channel,
        "percentile" and "range" for values in about 0..1; see `statistics`.
      stats: the `statistics` of the whole image; needed if `image` is only a window of it.
      value_range: as in `statistics`.
    """
    offset, divisor = statistics(image, mode, value_range) if stats is None else stats
    unknown = unknown_pixels(image)
    if unknown is None:
        return (image.astype(np.float32) - offset) / divisor
    return (np.where(unknown[..., None], offset, image) - offset) / divisor


def check_depth(what: str, dtype: str, trained: str, mode: str, value_range: Sequence[float] = ()) -> None:
    """Checks that images have the depth that a network was trained on, where the depth changes what it sees.

    The mode "range" divides by the largest value of the type. So an image of 12 bits in a file of 16 would be a sixteenth as
    bright for a network that was trained on 8 bits. The other modes, and "range" with `value_range`, do not depend on the type.

    Args:
      what: the images, for the error.
      dtype: their pixel type.
      trained: the pixel type that the network was trained on; "" if it is not known.
      mode: see `normalize`.
      value_range: see `normalize`.

    Raises:
      UserError: the mode is "range" by the type, and the two types are not the same.
    """
    if mode == "range" and not value_range and trained and dtype != trained:
        raise UserError(
            f"{what} has {_bits(dtype)} pixels, and the network was trained on {_bits(trained)} ones with "
            f"data.normalize='range', which divides by the largest value of the type; give {_bits(trained)} pixels, or train "
            "with data.normalize='image'"
        )


def _bits(dtype: str) -> str:
    return f"{8 * np.dtype(dtype).itemsize}-bit ({dtype})"
