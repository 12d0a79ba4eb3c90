"""torchvision's networks, written from their definition in NumPy and `[B, C, H, W]`; weights have torchvision's names."""

import numpy as np

# The number of ImageNet's classes.
IMAGENET = 1000


class Network:
    """Makes each weight when it is first read.

    With compute=False, weights take no memory and maps are zeros: enough for the names and shapes of a full network.
    """

    def __init__(self, compute=True):
        self.state, self.compute, self.rng = {}, compute, np.random.default_rng(0)

    def make(self, name, *shape, positive=False):
        values = np.float32(0)
        if self.compute:
            values = self.rng.normal(size=shape) / np.sqrt(max(np.prod(shape[1:]), 1))
            values = np.abs(values) + 0.5 if positive else values
        self.state[name] = np.broadcast_to(np.asarray(values, np.float32), shape)
        return self.state[name]

    def conv(self, name, x, features, size, stride=1, pad=0, bias=False):
        kernel = self.make(f"{name}.weight", features, x.shape[1], size, size)
        wide = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        height, width = ((n - size) // stride + 1 for n in wide.shape[2:])
        y = np.zeros((len(x), features, height, width))
        for i, j in np.ndindex(size, size) if self.compute else ():
            part = wide[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            y += np.einsum("bchw,oc->bohw", part[:, :, :height, :width], kernel[:, :, i, j])
        return y + self.make(f"{name}.bias", features)[:, None, None] if bias else y

    def norm(self, name, x):
        channels = x.shape[1]
        scale, bias = self.make(f"{name}.weight", channels), self.make(f"{name}.bias", channels)
        mean = self.make(f"{name}.running_mean", channels)
        var = self.make(f"{name}.running_var", channels, positive=True)
        self.state[f"{name}.num_batches_tracked"] = np.int64(7)
        scale, bias, mean, var = (v[:, None, None] for v in (scale, bias, mean, var))
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    def linear(self, name, channels, features):
        self.make(f"{name}.weight", features, channels)
        self.make(f"{name}.bias", features)


def relu(x):
    return np.maximum(x, 0)


def pool(x, reduce):
    batch, channels, height, width = x.shape
    return reduce(x.reshape(batch, channels, height // 2, 2, width // 2, 2), axis=(3, 5))


def max_pool(x):
    """Computes the 3x3 maximum with stride 2 and a border of -inf."""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    height, width = ((n - 3) // 2 + 1 for n in wide.shape[2:])
    parts = [wide[:, :, i : i + 2 * height : 2, j : j + 2 * width : 2] for i, j in np.ndindex(3, 3)]
    return np.max([part[:, :, :height, :width] for part in parts], axis=0)


def vgg(network, x, convs=(2, 2, 3, 3, 3), features=(64, 128, 256, 512, 512), batch_norm=False):
    maps, index = [], 0
    for level, number in enumerate(convs):
        for _ in range(number):
            x = network.conv(f"features.{index}", x, features[level], 3, pad=1, bias=True)
            index += 1
            if batch_norm:
                x = network.norm(f"features.{index}", x)
                index += 1
            x = relu(x)
            index += 1
        maps.append(x)
        x = pool(x, np.max)
        index += 1
    for index, sizes in ((0, (7 * 7 * features[-1], 4096)), (3, (4096, 4096)), (6, (4096, IMAGENET))):
        network.linear(f"classifier.{index}", *sizes)
    return maps


def resnet(network, x, blocks=(3, 4, 6, 3), features=64, bottleneck=False):
    x = relu(network.norm("bn1", network.conv("conv1", x, features, 7, stride=2, pad=3)))
    maps = [x]
    x = max_pool(x)
    for layer, number in enumerate(blocks, 1):
        for k in range(number):
            name, stride, width = f"layer{layer}.{k}", 2 if layer > 1 and k == 0 else 1, features * 2 ** (layer - 1)
            plan = [(width, 3, stride, 1), (width, 3, 1, 1)]
            if bottleneck:
                plan = [(width, 1, 1, 0), (width, 3, stride, 1), (4 * width, 1, 1, 0)]
            y = x
            for n, step in enumerate(plan, 1):
                y = network.norm(f"{name}.bn{n}", network.conv(f"{name}.conv{n}", y, *step))
                y = relu(y) if n < len(plan) else y
            if stride != 1 or x.shape[1] != y.shape[1]:
                x = network.conv(f"{name}.downsample.0", x, y.shape[1], 1, stride=stride)
                x = network.norm(f"{name}.downsample.1", x)
            x = relu(y + x)
        maps.append(x)
    network.linear("fc", x.shape[1], IMAGENET)
    return maps


def densenet(network, x, layers_per_block=(6, 12, 24, 16), growth_rate=32, features=64):
    x = network.conv("features.conv0", x, features, 7, stride=2, pad=3)
    x = relu(network.norm("features.norm0", x))
    maps = [x]
    x = max_pool(x)
    for block, number in enumerate(layers_per_block, 1):
        for k in range(1, number + 1):
            name = f"features.denseblock{block}.denselayer{k}"
            y = network.conv(f"{name}.conv1", relu(network.norm(f"{name}.norm1", x)), 4 * growth_rate, 1)
            y = network.conv(f"{name}.conv2", relu(network.norm(f"{name}.norm2", y)), growth_rate, 3, pad=1)
            x = np.concatenate([x, y], axis=1)
        if block < len(layers_per_block):
            name = f"features.transition{block}"
            maps.append(relu(network.norm(f"{name}.norm", x)))
            x = pool(network.conv(f"{name}.conv", maps[-1], x.shape[1] // 2, 1), np.mean)
    maps.append(relu(network.norm("features.norm5", x)))
    network.linear("classifier", x.shape[1], IMAGENET)
    return maps
