"""FC-DenseNet: Jegou et al. 2017, section 3 and tables 1 and 2, and the order of the concatenations of their code."""

import numpy as np

from unet_jax.analysis.reference import operators


class _Net:
    """The operators of table 1 with the weights of one network, in inference: no dropout, statistics as learnt."""

    def __init__(self, variables):
        self.weights = operators.as_float64(variables["params"])
        self.statistics = operators.as_float64(variables["batch_stats"])

    def conv(self, x, weights):
        return operators.convolution(x, weights["kernel"], weights["bias"], "same")

    def layer(self, name, x):
        """BatchNorm, ReLU, convolution: of 3x3 in a block, of 1x1 in TD."""
        weights = self.weights[name]
        x = operators.batch_norm(x, weights["norm"], self.statistics[name]["norm"])
        return self.conv(operators.relu(x), weights["conv"])

    def block(self, name, number, x):
        """The maps of its layers, each of which reads the block's input and those before it: figure 2."""
        new = []
        for k in range(number):
            new.append(self.layer(f"{name}_{k}", np.concatenate([x, *new], -1)))
        return np.concatenate(new, -1)

    def up(self, name, x, skip):
        """TU: transposed convolution of 3x3 and stride 2, the middle of it that fits the skip, then the skip."""
        weights = self.weights[name]
        y = operators.transposed_convolution(x, weights["kernel"], 2) + weights["bias"]
        return np.concatenate([operators.crop(y, skip.shape), skip], -1)


def logits(variables, image, *, layers_per_block):
    """Figure 1; an image whose sides are no multiples of 2^pools is extended, as the network's docstring says."""
    net, pools = _Net(variables), len(layers_per_block) // 2
    x = net.conv(operators.repeat_border(np.float64(image), 2**pools), net.weights["first"])
    skips = []
    for i in range(pools):
        x = np.concatenate([x, net.block(f"down_{i}", layers_per_block[i], x)], -1)
        skips.append(x)
        x = operators.pool(net.layer(f"transition_down_{i}", x))
    new = net.block("bottleneck", layers_per_block[pools], x)
    for i, number in zip(reversed(range(pools)), layers_per_block[pools + 1 :], strict=True):
        x = net.up(f"transition_up_{i}", new, skips[i])  # the new maps alone: section 3.2
        new = net.block(f"up_{i}", number, x)
    y = net.conv(np.concatenate([x, new], -1), net.weights["head"])
    return [y[: image.shape[0], : image.shape[1]]]
