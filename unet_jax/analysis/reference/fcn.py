"""Computes FCN-32s, 16s and 8s: Long et al. 2015, section 4 and figure 3, and their networks voc-fcn32s, 16s and 8s."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unet_jax.analysis.reference.operators import as_float64, convolution, pool, relu, transposed_convolution

# Convolutions before each pool.
VGG_16 = (2, 2, 3, 3, 3)
# Offsets, in pixels, of the authors' Crop layers: of the pools, and of the logits by their stride.
POOL_CROPS = {"pool4": 5, "pool3": 9}
LOGIT_CROPS = {32: 19, 16: 27, 8: 31}


def bilinear(factor: int, channels: int) -> np.ndarray:
    """Returns the kernel `[2f, 2f, channels, channels]` of the fixed deconvolution by the factor f.

    Each channel is up-sampled by itself; its weights fall linearly from the middle.

    >>> bilinear(2, 1)[:, :, 0, 0][1].tolist()
    [0.1875, 0.5625, 0.5625, 0.1875]
    """
    distance = np.abs(np.arange(2 * factor) - (factor - 0.5))
    row = 1 - distance / factor
    return np.einsum("a,b,co->abco", row, row, np.eye(channels))


def logits(variables: Mapping[str, Any], image: np.ndarray, *, stride: int) -> list[np.ndarray]:
    """Computes FCN: 100 zeros on each side, VGG-16, fc6 and fc7 as convolutions, scores, up-sampling.

    The scores of pool4 and pool3 are added on the way up.

    Args:
      variables: parameters.
      image: `[H, W, C]`.
      stride: 32, 16 or 8.

    Returns:
      The logits `[H, W, K]` of the one head, in a list.
    """
    weights = as_float64(variables["params"])

    def conv(name, x, padding="valid"):
        return convolution(x, weights[name]["kernel"], weights[name]["bias"], padding)

    def up(x, factor):
        return transposed_convolution(x, bilinear(factor, x.shape[2]), factor)

    x = np.pad(np.asarray(image, np.float64), ((100, 100), (100, 100), (0, 0)))
    pools = {}
    for i, number in enumerate(VGG_16, 1):
        for j in range(1, number + 1):
            x = relu(conv(f"conv_{i}_{j}", x, "valid" if i == j == 1 else "same"))
        x = pools[f"pool{i}"] = pool(x)
    x = conv("score_fr", relu(conv("fc_7", relu(conv("fc_6", x)))))
    for name in {32: (), 16: ("pool4",), 8: ("pool4", "pool3")}[stride]:
        x = up(x, 2)
        x = x + _from(conv(f"score_{name}", pools[name]), POOL_CROPS[name], x.shape)
    return [_from(up(x, stride), LOGIT_CROPS[stride], image.shape)]


def _from(x, offset, shape):
    """Returns as many rows and columns as `shape` has, from the offset on."""
    return x[offset : offset + shape[0], offset : offset + shape[1]]
