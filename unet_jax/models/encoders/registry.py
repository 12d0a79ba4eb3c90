"""The table of encoders: networks from image classification, whose maps replace a grid's contracting path.

`ENCODERS[name](depth=..., dtype=..., axis_name=...)` builds a linen module `(images, train) -> tuple of maps`, one map per
level; level j has stride 2^j. To add one: write its file with a subclass of `encoder.Encoder`, and add its row. The tests
run over the table.
"""

import functools
from collections.abc import Callable

from unet_jax.models.encoders.densenet import DenseNet
from unet_jax.models.encoders.encoder import Encoder
from unet_jax.models.encoders.resnet import ResNet
from unet_jax.models.encoders.vgg import VGG

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "vgg16": VGG,
    "vgg16_bn": functools.partial(VGG, batch_norm=True),
    "resnet34": ResNet,
    "resnet50": functools.partial(ResNet, bottleneck=True),
    "densenet121": DenseNet,
    "densenet169": functools.partial(DenseNet, layers_per_block=(6, 12, 32, 32)),
    "densenet201": functools.partial(DenseNet, layers_per_block=(6, 12, 48, 32)),
    "densenet161": functools.partial(DenseNet, layers_per_block=(6, 12, 36, 24), growth_rate=48, features=96),
    # For CIFAR: L = 40, k = 12; and L = 100, k = 12 with bottlenecks and compression (DenseNet's table 2).
    "densenet40": functools.partial(
        DenseNet,
        layers_per_block=(12, 12, 12),
        growth_rate=12,
        features=16,
        bottleneck=False,
        compression=1.0,
        small_images=True,
    ),
    "densenet_bc100": functools.partial(
        DenseNet, layers_per_block=(16, 16, 16), growth_rate=12, features=24, small_images=True
    ),
}
# The rows of the package; `experiment/imports.py` finds by them those that a user's file has added.
SHIPPED = dict(ENCODERS)
