"""What networks are made of, each operator on one map `[H, W, C]`.

Sources: Ronneberger et al. 2015; Long et al. 2015; Ioffe and Szegedy 2015, Wu and He 2018, Ulyanov et al. 2016 for the
normalisations.
"""

import numpy as np

EPSILON = 1e-5


def as_float64(tree):
    """Nested dicts of arrays, in float64."""
    return {k: as_float64(v) if hasattr(v, "items") else np.float64(v) for k, v in tree.items()}


def convolution(x, kernel, bias=None, padding="valid"):
    """y[i, j, o] = bias[o] + sum_{a, b, c} x[i + a, j + b, c] kernel[a, b, c, o]; "same": zeros beyond the border."""
    height, width = kernel.shape[:2]
    if padding == "same":
        x = np.pad(x, ((height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    rows, columns = x.shape[0] - height + 1, x.shape[1] - width + 1
    y = np.zeros((rows, columns, kernel.shape[3]))
    for a in range(height):
        for b in range(width):
            y += x[a : a + rows, b : b + columns] @ kernel[a, b]
    return y if bias is None else y + bias


def transposed_convolution(x, kernel, stride):
    """y[s i + a, s j + b, o] = sum_{i, j, a, b, c} x[i, j, c] kernel[a, b, c, o]; s (n - 1) + h rows of n, columns alike."""
    rows, columns = (stride * (size - 1) + window for size, window in zip(x.shape[:2], kernel.shape[:2], strict=True))
    y = np.zeros((rows, columns, kernel.shape[3]))
    for a in range(kernel.shape[0]):
        for b in range(kernel.shape[1]):
            places = y[a : a + stride * (x.shape[0] - 1) + 1 : stride, b : b + stride * (x.shape[1] - 1) + 1 : stride]
            places += x @ kernel[a, b]
    return y


def resize(x, method):
    """Twice as high and wide: "nearest", or "bilinear" with half-pixel centres, the border's pixels repeated."""
    for axis in (0, 1):
        position = (np.arange(2 * x.shape[axis]) + 0.5) / 2 - 0.5
        if method == "nearest":
            x = np.take(x, np.rint(position).astype(int), axis)
            continue
        low = np.floor(position).astype(int)
        share = np.expand_dims(position - low, (1, 2) if axis == 0 else (0, 2))
        last = x.shape[axis] - 1
        x = (1 - share) * np.take(x, np.clip(low, 0, last), axis) + share * np.take(x, np.clip(low + 1, 0, last), axis)
    return x


def pool(x):
    """D: the largest of each 2x2 pixels; of what is left of them at the end of an odd size (ceil mode)."""
    y = np.empty((-(-x.shape[0] // 2), -(-x.shape[1] // 2), x.shape[2]))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1))
    return y


def crop(x, size):
    """The middle of a map; where one pixel more is to go at one end, it is the last."""
    top, left = ((x.shape[axis] - size[axis]) // 2 for axis in (0, 1))
    return x[top : top + size[0], left : left + size[1]]


def repeat_border(image, multiple):
    """An image whose sides are no multiples has its last row and column repeated until they are."""
    ends = [(0, -size % multiple) for size in image.shape[:2]]
    return np.pad(image, (*ends, (0, 0)), mode="edge")


def relu(x):
    return np.where(x > 0, x, 0.0)


def batch_norm(x, weights, statistics):
    """As learnt: (x - mean) / sqrt(variance + epsilon) * scale + bias."""
    return affine(x, statistics["mean"], statistics["var"], weights)


def affine(x, mean, variance, weights):
    return (x - mean) / np.sqrt(variance + EPSILON) * weights["scale"] + weights["bias"]
