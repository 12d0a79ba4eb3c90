"""Every network gives the probabilities of the whole image in bands, in strips, on several devices, to rounding."""

import functools

import jax
import numpy as np
import pytest
from helpers.large_images import ROUNDING, Fixed, in_bands, picture, trained, whole

from unet_jax.inference.forward import forward_heads
from unet_jax.inference.large.strips import strip_width
from unet_jax.models.encoders import vgg
from unet_jax.models.encoders.densenet import DenseNet
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.encoders.resnet import ResNet
from unet_jax.models.receptive_field import trace
from unet_jax.models.registry import MODELS

# Levels 1 to 3; 0 to 2; 1 to 3; 0 to 1.
ENCODERS_OF_TESTS = {
    "res": functools.partial(ResNet, blocks=(1, 1), features=2),
    "vgg": functools.partial(vgg.VGG, convs=(1, 1, 2), features=(2, 3, 4)),
    "dense": functools.partial(DenseNet, layers_per_block=(2, 1), growth_rate=2, features=2),
    "dense_small": functools.partial(DenseNet, layers_per_block=(1, 2), growth_rate=2, features=2, small_images=True),
}
DENSE = {"variant": "", "stem_features": 2, "growth_rate": 2, "layers_per_block": (1, 2, 2, 1, 1)}
FCN = {"widths": (2, 2, 2, 3, 3, 4)}
# The name, the network, its options, and the height and width of an image that it takes.
CASES = [
    ("unet", "unet", {"widths": (2, 3, 4)}, (52, 140)),
    ("unet, BatchNorm", "unet", {"widths": (2, 2, 3), "norm": "batch"}, (40, 140)),
    ("unet, nearest", "unet", {"widths": (2, 3), "upsample": "nearest"}, (10, 64)),
    ("unet, one class", "unet", {"widths": (2, 3), "num_classes": 1, "activation": "sigmoid"}, (22, 64)),
    ("unet, valid", "unet", {"widths": (2, 3, 4), "padding": "valid"}, (64, 220)),
    ("unet, valid bilinear", "unet", {"widths": (2, 3), "padding": "valid", "upsample": "bilinear"}, (34, 90)),
    ("unet, release", "unet", {"widths": (2, 3, 4, 4, 5), "variant": "release"}, (252, 780)),
    ("unet_pp", "unet_pp", {"widths": (2, 3, 4), "deep_supervision": True}, (52, 140)),
    ("unet_pp, level 1", "unet_pp", {"widths": (2, 3, 4), "deep_supervision": True, "level": 1}, (48, 80)),
    ("unet_pp, one head", "unet_pp", {"widths": (2, 2, 3, 3), "activation": "sigmoid", "norm": "batch"}, (56, 280)),
    ("unet_pp, valid", "unet_pp", {"widths": (2, 3, 4), "padding": "valid", "deep_supervision": True}, (68, 220)),
    (
        "unet_pp, bilinear",
        "unet_pp",
        {"widths": (2, 3, 4), "upsample": "bilinear", "deep_supervision": True},
        (40, 160),
    ),
    ("fcn, stride 8", "fcn", FCN, (75, 1237)),
    ("fcn, stride 16", "fcn", FCN | {"stride": 16}, (1, 33)),
    ("fcn, stride 32", "fcn", FCN | {"stride": 32, "activation": "sigmoid"}, (131, 7)),
    ("fc_densenet", "fc_densenet", DENSE, (52, 192)),
    ("unet, residual encoder", "unet", {"widths": (2, 2, 2, 4), "encoder": "res", "norm": "batch"}, (56, 336)),
    ("unet_pp, VGG", "unet_pp", {"widths": (2, 3, 4), "encoder": "vgg", "deep_supervision": True}, (52, 140)),
    ("unet, DenseNet", "unet", {"widths": (2, 2, 2, 5), "encoder": "dense", "upsample": "bilinear"}, (56, 400)),
    ("unet_pp, small DenseNet", "unet_pp", {"widths": (2, 6), "encoder": "dense_small"}, (36, 60)),
]


@pytest.fixture(autouse=True)
def _small_encoders(monkeypatch):
    for name, encoder in ENCODERS_OF_TESTS.items():
        monkeypatch.setitem(ENCODERS, name, encoder)


def test_every_row_of_the_table_has_a_case():
    assert {network for _, network, _, _ in CASES} == set(MODELS)


@pytest.mark.parametrize(("network", "options", "size"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bands_are_the_whole_image(network, options, size):
    module, variables = trained(network, **options)
    image = picture(*size)
    expected = whole(module, variables, image)
    # No class is the same everywhere.
    assert (np.ptp(expected, (0, 1)) > 1e-3).all()
    graph = trace(module)
    # Six strips on four devices go in two groups, the last of which is not full.
    count = next((n for n in (6, 3, 2) if strip_width(size[1], n, graph) < size[1]), 1)
    rows = 2 * graph.multiple if count > 1 else graph.multiple
    streamed = Fixed(module, "accurate", 1, jax.local_devices()[: 4 if count == 6 else 2])
    found = in_bands(streamed, variables, image, rows, strip_width(size[1], count, graph), forward_heads)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)
