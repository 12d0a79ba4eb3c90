"""The percentiles of each channel of an image that is given in bands: exact, in memory that does not grow with the image.

Whole numbers are counted by value. Floats are counted twice by the bits of numbers that are ordered as the floats are: first by
the upper 16 bits, which says in which of 65536 parts a value of a given rank lies, and then by the lower 16 bits within that part.
"""

from collections.abc import Iterable, Iterator

import numpy as np

# Values of 16 bits.
NUMBER = 1 << 16


def percentiles_of_bands(bands: Iterable[np.ndarray], percents: tuple[int, ...]) -> np.ndarray:
    """Returns the percentiles of each channel, float64 `[len(percents), C]`, interpolated linearly, as `np.percentile` does.

    Args:
      bands: uint8, uint16 or float32 `[N, C]` each, at least one value in all; can be read twice if they are floats. No value
        is NaN.
      percents: whole numbers from 0 to 100.
    """
    first = next(iter(bands))
    is_float = first.dtype == np.float32
    high = np.zeros((first.shape[-1], NUMBER), np.int64)
    for band in bands:
        for channel, values in enumerate(_columns(band)):
            high[channel] += np.bincount(values >> 16 if is_float else values, minlength=NUMBER)
    number = int(high[0].sum())
    # Whole numbers: a position that is rounded would be another one for a large image.
    places = [divmod(percent * (number - 1), 100) for percent in percents]
    ranks = np.array([min(rank + after, number - 1) for rank, _ in places for after in (0, 1)])
    found = np.array([_at_ranks(counts, ranks) for counts in high])
    if is_float:
        found = _refine(bands, high, found, ranks)
    below, above = (found[:, start::2].astype(np.float64).T for start in (0, 1))
    return below + np.array([rest / 100 for _, rest in places])[:, None] * (above - below)


def _refine(bands: Iterable[np.ndarray], high: np.ndarray, parts: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Returns the floats of these ranks, `[C, R]`, whose upper 16 bits are `parts`."""
    # Most ranks of a channel share a part.
    low = [{part: np.zeros(NUMBER, np.int64) for part in of_channel} for of_channel in parts.tolist()]
    for band in bands:
        for values, counted in zip(_columns(band), low, strict=True):
            for part, counts in counted.items():
                counts += np.bincount(values[values >> 16 == part] & (NUMBER - 1), minlength=NUMBER)
    found = np.zeros(parts.shape, np.uint32)
    for channel, of_channel in enumerate(parts.tolist()):
        for position, part in enumerate(of_channel):
            rank = ranks[position] - high[channel, :part].sum()
            found[channel, position] = part << 16 | int(_at_ranks(low[channel][part], rank))
    return _to_floats(found)


def _columns(band: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the values of each channel, of floats as `_to_ordered`."""
    for channel in range(band.shape[-1]):
        values = np.ascontiguousarray(band[..., channel]).ravel()
        yield _to_ordered(values) if band.dtype == np.float32 else values


def _at_ranks(counts: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Returns the values at positions of the sorted values, counted from 0."""
    return np.searchsorted(np.cumsum(counts), ranks, side="right")


def _to_ordered(floats: np.ndarray) -> np.ndarray:
    """Returns uint32 numbers in the order of the floats."""
    bits = floats.view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _to_floats(ordered: np.ndarray) -> np.ndarray:
    """Returns the floats of `_to_ordered`."""
    return np.where(ordered >> 31, ordered & np.uint32((1 << 31) - 1), ~ordered).view(np.float32)
