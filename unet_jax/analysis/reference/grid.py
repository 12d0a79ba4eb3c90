"""U-Net and U-Net++: Ronneberger et al. 2015, figure 1; Zhou et al. 2018, equation 1 and figure 1."""

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


def unet(variables, image, **options):
    """Figure 1 of the paper: down, across and up."""
    return _Grid(variables, **options).unet(np.float64(image))


def unet_pp(variables, image, *, deep_supervision, level, **options):
    """Equation 1, node by node up to i + j = level; a head on each x^{0,j}, or on the last alone."""
    net = _Grid(variables, **options)
    level = level or net.depth
    return net.unet_pp(np.float64(image), range(1, level + 1) if deep_supervision else [level], level)


def normalise(x, norm, weights, statistics):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias; the mean over the image, a group of channels, or as learnt."""
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
    """The operators with the weights of one network.

    An image whose sides are no multiples of 2^depth is extended, as the network's docstring says; logits are of the
    image's size (same) or of the middle (valid).
    """

    def __init__(self, variables, *, widths, padding, norm, upsample, variant):
        self.weights = as_float64(variables["params"])
        self.statistics = as_float64(variables.get("batch_stats", {}))
        self.depth, self.padding, self.norm, self.upsample = len(widths) - 1, padding, norm, upsample
        self.release = variant == "release"

    def h(self, name, sources):
        """H: twice 3x3 convolution, normalisation, ReLU, over the concatenation of the sources."""
        x = np.concatenate(sources, -1)
        for k in (0, 1):
            weights = self.weights[name][f"conv_{k}"]
            x = convolution(x, weights["kernel"], weights.get("bias"), self.padding)
            norm = f"norm_{k}"
            x = normalise(x, self.norm, self.weights[name].get(norm), self.statistics.get(name, {}).get(norm))
            x = relu(x)
        return x

    def u(self, name, x):
        """U: twice the size; the release has a ReLU after it."""
        kernel, bias = self.weights[name]["kernel"], self.weights[name]["bias"]
        transpose = self.upsample == "transpose"
        y = transposed_convolution(x, kernel, 2) if transpose else resize(x, self.upsample) @ kernel
        return relu(y + bias) if self.release else y + bias

    def head(self, name, x):
        """The 1x1 convolution to logits."""
        return convolution(x, self.weights[name]["kernel"], self.weights[name]["bias"])

    def enter(self, image):
        return image if self.padding == "valid" else repeat_border(image, 2**self.depth)

    def leave(self, logits, image, size):
        return crop(logits, size) if self.padding == "valid" else logits[: image.shape[0], : image.shape[1]]

    def unet(self, image):
        skips, x = [], self.enter(image)
        for i in range(self.depth + 1):
            x = self.h(f"enc_{i}", [pool(x) if i else x])
            skips.append(x)
        for i in range(self.depth - 1, -1, -1):
            up = self.u(f"up_{i}", x)
            x = self.h(f"dec_{i}", [up, crop(skips[i], up.shape)])
        return [self.leave(self.head("head", x), image, x.shape)]

    def unet_pp(self, image, heads, level):
        x = {(0, 0): self.h("x_0_0", [self.enter(image)])}
        for i in range(1, level + 1):
            x[i, 0] = self.h(f"x_{i}_0", [pool(x[i - 1, 0])])
        for j in range(1, level + 1):
            for i in range(level - j + 1):
                up = self.u(f"up_{i}_{j}", x[i + 1, j - 1])
                x[i, j] = self.h(f"x_{i}_{j}", [up, *(crop(x[i, k], up.shape) for k in range(j))])
        return [self.leave(self.head(f"head_{j}", x[0, j]), image, x[0, level].shape) for j in heads]
