"""FCN-32s, 16s and 8s: Long et al. 2015, section 4 and figure 3, and the layers of their voc-fcn32s, 16s and 8s."""

import numpy as np

from unet_jax.analysis.reference.operators import as_float64, convolution, pool, relu, transposed_convolution

VGG_16 = (2, 2, 3, 3, 3)  # convolutions before each pool
CROPS = {"pool4": 5, "pool3": 9, 32: 19, 16: 27, 8: 31}  # offsets of their Crop layers


def bilinear(factor, channels):
    """The fixed deconvolution's kernel: each channel by itself, its weights falling linearly from the middle of 2f x 2f."""
    distance = np.abs(np.arange(2 * factor) - (factor - 0.5))
    row = 1 - distance / factor
    return np.einsum("a,b,co->abco", row, row, np.eye(channels))


def logits(variables, image, *, stride):
    """Pad by 100, VGG-16, fc6 and fc7 as convolutions, scores, and up: pool4's and pool3's are added on the way."""
    weights = as_float64(variables["params"])

    def conv(name, x, padding="valid"):
        return convolution(x, weights[name]["kernel"], weights[name]["bias"], padding)

    def up(x, factor):
        return transposed_convolution(x, bilinear(factor, x.shape[2]), factor)

    x = np.pad(np.float64(image), ((100, 100), (100, 100), (0, 0)))
    pools = {}
    for i, number in enumerate(VGG_16, 1):
        for j in range(1, number + 1):
            x = relu(conv(f"conv_{i}_{j}", x, "valid" if i == j == 1 else "same"))
        x = pools[f"pool{i}"] = pool(x)
    x = conv("score_fr", relu(conv("fc_7", relu(conv("fc_6", x)))))
    for name in {32: (), 16: ("pool4",), 8: ("pool4", "pool3")}[stride]:
        x = up(x, 2)
        x = x + _from(conv(f"score_{name}", pools[name]), CROPS[name], x.shape)
    return [_from(up(x, stride), CROPS[stride], image.shape)]


def _from(x, offset, shape):
    """As many rows and columns as `shape` has, from the offset on."""
    return x[offset : offset + shape[0], offset : offset + shape[1]]
