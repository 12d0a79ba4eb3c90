"""The networks once more, in plain NumPy and float64, written from their definitions: what `certify` compares with.

Slow and short on purpose: each operator is the sum that defines it. Nothing of `unet_jax.models` is used; weights come as
nested dicts of arrays under the names that the papers give the nodes. Images are `[H, W, C]`, kernels `[h, w, in, out]`.

Sources: Ronneberger et al. 2015, figure 1; Zhou et al. 2018, equation 1 and figure 1; Ioffe and Szegedy 2015, Wu and He
2018, Ulyanov et al. 2016 for the normalisations.
"""

import numpy as np

EPSILON = 1e-5


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


def up_convolution(x, kernel, bias):
    """2x2, stride 2: y[2i + a, 2j + b, o] = bias[o] + sum_c x[i, j, c] kernel[a, b, c, o]."""
    y = np.zeros((2 * x.shape[0], 2 * x.shape[1], kernel.shape[3]))
    for a in range(2):
        for b in range(2):
            y[a::2, b::2] = x @ kernel[a, b]
    return y + bias


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
    """D: the largest of each 2x2 pixels."""
    y = np.empty((x.shape[0] // 2, x.shape[1] // 2, x.shape[2]))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1))
    return y


def crop(x, size):
    """The middle of a map."""
    top, left = ((x.shape[axis] - size[axis]) // 2 for axis in (0, 1))
    return x[top : top + size[0], left : left + size[1]]


def relu(x):
    return np.where(x > 0, x, 0.0)


def normalise(x, norm, weights, statistics):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias; the mean over the image, a group of channels, or as learnt."""
    if norm == "none":
        return x
    if norm == "batch":
        mean, variance = statistics["mean"], statistics["var"]
    elif norm == "instance":
        mean, variance = x.mean((0, 1)), x.var((0, 1))
    else:
        channels = x.shape[2]
        groups = max(n for n in range(1, 17) if channels % n == 0 and (n == 1 or channels // n >= 2))
        split = x.reshape(*x.shape[:2], groups, -1)
        mean, variance = (np.repeat(f(split, (0, 1, 3)), channels // groups) for f in (np.mean, np.var))
    return (x - mean) / np.sqrt(variance + EPSILON) * weights["scale"] + weights["bias"]


class Grid:
    """U-Net and U-Net++ of one image; `variables` as the network's own, `knobs` those of its class that are not defaults.

    An image whose sides are no multiples of 2^depth has its last row and column repeated, as the network's docstring
    says; logits are of the image's size (same) or of the middle (valid).
    """

    def __init__(self, variables, depth, *, padding="same", norm="none", upsample="transpose", release=False):
        as_float64 = lambda tree: {k: as_float64(v) if hasattr(v, "items") else np.float64(v) for k, v in tree.items()}  # noqa: E731
        self.weights = as_float64(variables["params"])
        self.statistics = as_float64(variables.get("batch_stats", {}))
        self.depth, self.padding, self.norm, self.upsample, self.release = depth, padding, norm, upsample, release

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
        y = (
            up_convolution(x, kernel, bias)
            if self.upsample == "transpose"
            else resize(x, self.upsample) @ kernel + bias
        )
        return relu(y) if self.release else y

    def head(self, name, x):
        """The 1x1 convolution to logits."""
        return convolution(x, self.weights[name]["kernel"], self.weights[name]["bias"])

    def enter(self, image):
        image = np.float64(image)
        if self.padding == "valid":
            return image
        ends = [(0, -size % 2**self.depth) for size in image.shape[:2]]
        return np.pad(image, (*ends, (0, 0)), mode="edge")

    def leave(self, logits, image, size):
        return crop(logits, size) if self.padding == "valid" else logits[: image.shape[0], : image.shape[1]]

    def unet(self, image):
        """Figure 1 of the paper: down, across and up; a list of one head's logits."""
        skips, x = [], self.enter(image)
        for i in range(self.depth + 1):
            x = self.h(f"enc_{i}", [pool(x) if i else x])
            skips.append(x)
        for i in range(self.depth - 1, -1, -1):
            up = self.u(f"up_{i}", x)
            x = self.h(f"dec_{i}", [up, crop(skips[i], up.shape)])
        return [self.leave(self.head("head", x), image, x.shape)]

    def unet_pp(self, image, heads, level):
        """Equation 1, node by node up to i + j = level; the logits of each of `heads`, numbers from 1 to the level."""
        x = {(0, 0): self.h("x_0_0", [self.enter(image)])}
        for i in range(1, level + 1):
            x[i, 0] = self.h(f"x_{i}_0", [pool(x[i - 1, 0])])
        for j in range(1, level + 1):
            for i in range(level - j + 1):
                up = self.u(f"up_{i}_{j}", x[i + 1, j - 1])
                x[i, j] = self.h(f"x_{i}_{j}", [up, *(crop(x[i, k], up.shape) for k in range(j))])
        return [self.leave(self.head(f"head_{j}", x[0, j]), image, x[0, level].shape) for j in heads]
