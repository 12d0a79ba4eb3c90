"""Computes U-Net and U-Net++: Ronneberger et al. 2015, figure 1; Zhou et al. 2018, equation 1 and figure 1."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from unet_jax.analysis.reference.operators import (
    affine,
    as_float64,
    batch_norm,
    convolution,
    crop,
    pool,
    relu,
    repeat_border,
    resize,
    transposed_convolution,
)


def unet(variables: Mapping[str, Any], image: np.ndarray, **options: Any) -> list[np.ndarray]:
    """Computes U-Net (figure 1 of the paper).

    Args:
      variables: parameters and running statistics.
      image: `[H, W, C]`.
      **options: widths, padding, norm, upsample and variant of the network.

    Returns:
      The logits `[h, w, K]` of the one head, in a list.
    """
    return _Grid(variables, **options).unet(np.asarray(image, np.float64))


def unet_pp(
    variables: Mapping[str, Any], image: np.ndarray, *, deep_supervision: bool, level: int, **options: Any
) -> list[np.ndarray]:
    """Computes U-Net++ (equation 1 of the paper), node by node up to i + j = level.

    Args:
      variables: parameters and running statistics.
      image: `[H, W, C]`.
      deep_supervision: True for a head on each x^{0,j}, False for one on the last.
      level: the pruning level; 0 for the whole network.
      **options: widths, padding, norm, upsample and variant of the network.

    Returns:
      The logits `[h, w, K]` of each head, shallow to deep.
    """
    net = _Grid(variables, **options)
    level = level or net.depth
    heads = range(1, level + 1) if deep_supervision else [level]
    return net.unet_pp(np.asarray(image, np.float64), heads, level)


def normalise(
    x: np.ndarray, norm: str, weights: Mapping[str, np.ndarray], statistics: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Computes (x - mean) / sqrt(variance + epsilon) * scale + bias of a map `[H, W, C]`.

    Args:
      x: the map.
      norm: "none"; "batch" for trained means and variances, "instance" for those of each channel, "group" for those of
        each group of channels.
      weights: `scale` and `bias` `[C]`; empty for "none".
      statistics: `mean` and `var` `[C]` for "batch", else empty.
    """
    if norm == "none":
        return x
    if norm == "batch":
        return batch_norm(x, weights, statistics)
    if norm == "instance":
        return affine(x, x.mean((0, 1)), x.var((0, 1)), weights)
    channels = x.shape[2]
    groups = max(n for n in range(1, 17) if channels % n == 0 and (n == 1 or channels // n >= 2))
    split = x.reshape(*x.shape[:2], groups, -1)
    mean, variance = (np.repeat(f(split, (0, 1, 3)), channels // groups) for f in (np.mean, np.var))
    return affine(x, mean, variance, weights)


class _Grid:
    """Applies the operators with the weights of one network.

    With same padding, the last row and column of the image are repeated until its sides are multiples of 2^depth, and
    logits have the image's size. With valid padding, logits cover the middle.
    """

    def __init__(self, variables, *, widths, padding, norm, upsample, variant):
        self.weights = as_float64(variables["params"])
        self.statistics = as_float64(variables.get("batch_stats", {}))
        self.depth, self.padding, self.norm, self.upsample = len(widths) - 1, padding, norm, upsample
        self.release = variant == "release"

    def h(self, name, sources):
        """Returns H of the concatenated sources: twice 3x3 convolution, normalisation, ReLU."""
        x = np.concatenate(sources, -1)
        for k in (0, 1):
            weights = self.weights[name][f"conv_{k}"]
            x = convolution(x, weights["kernel"], weights.get("bias"), self.padding)
            norm = f"norm_{k}"
            x = normalise(x, self.norm, self.weights[name].get(norm, {}), self.statistics.get(name, {}).get(norm, {}))
            x = relu(x)
        return x

    def u(self, name, x):
        """Returns U, the map at twice its size; the release has a ReLU after it."""
        kernel, bias = self.weights[name]["kernel"], self.weights[name]["bias"]
        transpose = self.upsample == "transpose"
        y = transposed_convolution(x, kernel, 2) if transpose else resize(x, self.upsample) @ kernel
        return relu(y + bias) if self.release else y + bias

    def head(self, name, x):
        """Returns the logits of a 1x1 convolution."""
        return convolution(x, self.weights[name]["kernel"], self.weights[name]["bias"])

    def pad_to_multiple(self, image):
        return image if self.padding == "valid" else repeat_border(image, 2**self.depth)

    def crop_to_input(self, logits, image, size):
        return crop(logits, size) if self.padding == "valid" else logits[: image.shape[0], : image.shape[1]]

    def unet(self, image: np.ndarray) -> list[np.ndarray]:
        skips, x = [], self.pad_to_multiple(image)
        for i in range(self.depth + 1):
            x = self.h(f"enc_{i}", [pool(x) if i else x])
            skips.append(x)
        for i in range(self.depth - 1, -1, -1):
            up = self.u(f"up_{i}", x)
            x = self.h(f"dec_{i}", [up, crop(skips[i], up.shape)])
        return [self.crop_to_input(self.head("head", x), image, x.shape)]

    def unet_pp(self, image: np.ndarray, heads: Iterable[int], level: int) -> list[np.ndarray]:
        x = {(0, 0): self.h("x_0_0", [self.pad_to_multiple(image)])}
        for i in range(1, level + 1):
            x[i, 0] = self.h(f"x_{i}_0", [pool(x[i - 1, 0])])
        for j in range(1, level + 1):
            for i in range(level - j + 1):
                up = self.u(f"up_{i}_{j}", x[i + 1, j - 1])
                x[i, j] = self.h(f"x_{i}_{j}", [up, *(crop(x[i, k], up.shape) for k in range(j))])
        return [self.crop_to_input(self.head(f"head_{j}", x[0, j]), image, x[0, level].shape) for j in heads]
