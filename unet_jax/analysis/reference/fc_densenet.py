"""Computes FC-DenseNet: Jegou et al. 2017, section 3, tables 1 and 2; concatenations in the order of their code."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax.analysis.reference import operators


class _Net:
    """Applies the operators of table 1 with the weights of one network, in inference: no dropout, trained statistics."""

    def __init__(self, variables):
        self.weights = operators.as_float64(variables["params"])
        self.statistics = operators.as_float64(variables["batch_stats"])

    def conv(self, x, weights):
        return operators.convolution(x, weights["kernel"], weights["bias"], "same")

    def layer(self, name, x):
        """Returns BatchNorm, ReLU, and a convolution of 3x3 in a block or of 1x1 in TD."""
        weights = self.weights[name]
        x = operators.batch_norm(x, weights["norm"], self.statistics[name]["norm"])
        return self.conv(operators.relu(x), weights["conv"])

    def block(self, name, number, x):
        """Returns the maps of a block's layers; each reads the block's input and all layers before it (figure 2)."""
        new = []
        for k in range(number):
            new.append(self.layer(f"{name}_{k}", np.concatenate([x, *new], -1)))
        return np.concatenate(new, -1)

    def up(self, name, x, skip):
        """Returns TU and the skip: a transposed convolution of 3x3 and stride 2, cropped to the skip's size, comes first."""
        weights = self.weights[name]
        y = operators.transposed_convolution(x, weights["kernel"], 2) + weights["bias"]
        return np.concatenate([operators.crop(y, skip.shape), skip], -1)


def logits(variables: Mapping[str, Any], image: np.ndarray, *, layers_per_block: Sequence[int]) -> list[np.ndarray]:
    """Computes the network of figure 1.

    The last row and column of the image are repeated until its sides are multiples of 2^pools.

    Args:
      variables: parameters and running statistics.
      image: `[H, W, C]`.
      layers_per_block: on the way down, at the bottom, and on the way up.

    Returns:
      The logits `[H, W, K]` of the one head, in a list.
    """
    net, pools = _Net(variables), len(layers_per_block) // 2
    x = net.conv(operators.repeat_border(np.asarray(image, np.float64), 2**pools), net.weights["first"])
    skips = []
    for i in range(pools):
        x = np.concatenate([x, net.block(f"down_{i}", layers_per_block[i], x)], -1)
        skips.append(x)
        x = operators.pool(net.layer(f"transition_down_{i}", x))
    new = net.block("bottleneck", layers_per_block[pools], x)
    for i, number in zip(reversed(range(pools)), layers_per_block[pools + 1 :], strict=True):
        # TU reads only the new maps (section 3.2).
        x = net.up(f"transition_up_{i}", new, skips[i])
        new = net.block(f"up_{i}", number, x)
    y = net.conv(np.concatenate([x, new], -1), net.weights["head"])
    return [y[: image.shape[0], : image.shape[1]]]
