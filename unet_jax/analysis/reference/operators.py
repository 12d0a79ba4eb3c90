"""Defines the operators of the networks, each on one map `[H, W, C]`.

Sources: Ronneberger et al. 2015; Long et al. 2015; Ioffe and Szegedy 2015, Wu and He 2018, Ulyanov et al. 2016 for the
normalisations.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

EPSILON = 1e-5


def as_float64(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested dicts of arrays, converted to float64."""
    return {k: as_float64(v) if hasattr(v, "items") else np.float64(v) for k, v in tree.items()}


def convolution(
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | None = None, padding: str = "valid"
) -> np.ndarray:
    """Computes y[i, j, o] = bias[o] + sum_{a, b, c} x[i + a, j + b, c] kernel[a, b, c, o].

    Args:
      x: `[H, W, C]`.
      kernel: `[h, w, C, O]`.
      bias: `[O]`.
      padding: "valid", or "same" for zeros beyond the border.

    >>> convolution(np.ones((3, 3, 1)), np.ones((3, 3, 1, 1)), padding="same")[:, :, 0].astype(int).tolist()
    [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    height, width = kernel.shape[:2]
    if padding == "same":
        x = np.pad(x, ((height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    rows, columns = x.shape[0] - height + 1, x.shape[1] - width + 1
    y = np.zeros((rows, columns, kernel.shape[3]))
    for a in range(height):
        for b in range(width):
            y += x[a : a + rows, b : b + columns] @ kernel[a, b]
    return y if bias is None else y + bias


def transposed_convolution(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Computes y[s i + a, s j + b, o] as the sum of x[i, j, c] kernel[a, b, c, o] over all i, j, a, b, c that give it.

    n rows become s (n - 1) + h rows, and the same for columns.

    Args:
      x: `[H, W, C]`.
      kernel: `[h, w, C, O]`.
      stride: s, in pixels.
    """
    rows, columns = (stride * (size - 1) + window for size, window in zip(x.shape[:2], kernel.shape[:2], strict=True))
    y = np.zeros((rows, columns, kernel.shape[3]))
    for a in range(kernel.shape[0]):
        for b in range(kernel.shape[1]):
            places = y[a : a + stride * (x.shape[0] - 1) + 1 : stride, b : b + stride * (x.shape[1] - 1) + 1 : stride]
            places += x @ kernel[a, b]
    return y


def resize(x: np.ndarray, method: str) -> np.ndarray:
    """Returns the map at twice its height and width.

    Args:
      x: `[H, W, C]`.
      method: "nearest", or "bilinear" with half-pixel centres and repeated border pixels.

    >>> resize(np.array([[[0.0], [4.0]]]), "bilinear")[0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    for axis in (0, 1):
        position = (np.arange(2 * x.shape[axis]) + 0.5) / 2 - 0.5
        if method == "nearest":
            x = np.take(x, np.rint(position).astype(int), axis)
            continue
        low = np.floor(position).astype(int)
        weight = np.expand_dims(position - low, (1, 2) if axis == 0 else (0, 2))
        last = x.shape[axis] - 1
        below, above = (np.take(x, np.clip(index, 0, last), axis) for index in (low, low + 1))
        x = (1 - weight) * below + weight * above
    return x


def pool(x: np.ndarray) -> np.ndarray:
    """Returns D, the largest of each 2x2 pixels; an odd size is rounded up (ceil mode).

    >>> pool(np.arange(6.0).reshape(2, 3, 1))[:, :, 0].tolist()
    [[4.0, 5.0]]
    """
    y = np.empty((-(-x.shape[0] // 2), -(-x.shape[1] // 2), x.shape[2]))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1))
    return y


def crop(x: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Returns the middle of a map, `size` pixels high and wide; an odd pixel is removed at the end."""
    top, left = ((x.shape[axis] - size[axis]) // 2 for axis in (0, 1))
    return x[top : top + size[0], left : left + size[1]]


def repeat_border(image: np.ndarray, multiple: int) -> np.ndarray:
    """Repeats the last row and column of an image until its sides are multiples of `multiple`."""
    ends = [(0, -size % multiple) for size in image.shape[:2]]
    return np.pad(image, (*ends, (0, 0)), mode="edge")


def relu(x: np.ndarray) -> np.ndarray:
    """Returns max(x, 0)."""
    return np.where(x > 0, x, 0.0)


def batch_norm(x: np.ndarray, weights: Mapping[str, np.ndarray], statistics: Mapping[str, np.ndarray]) -> np.ndarray:
    """Computes (x - mean) / sqrt(variance + epsilon) * scale + bias with the trained mean and variance."""
    return affine(x, statistics["mean"], statistics["var"], weights)


def affine(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Computes (x - mean) / sqrt(variance + epsilon) * scale + bias."""
    return (x - mean) / np.sqrt(variance + EPSILON) * weights["scale"] + weights["bias"]
