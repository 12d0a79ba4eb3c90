"""Checks the exact number of parameters of each published network."""

from collections.abc import Iterator
from typing import Any

from unet_jax import models
from unet_jax.analysis.certify.check import Check, shapes
from unet_jax.training.state import count_parameters

UNET = "Ronneberger et al. 2015, figure 1"
RELEASE = "the authors' released network, phseg_v5"
UNET_PP = "Zhou et al. 2018, figure 1, and their code"
SIGMOID = {"activation": "sigmoid"}

# (label, model, channels of the image, classes, options, parameters, source)
PUBLISHED: tuple[tuple[str, str, int, int, dict[str, Any], int, str], ...] = (
    ("U-Net paper", "unet", 1, 2, {"variant": "paper"}, 31_030_658, UNET),
    ("U-Net release", "unet", 1, 2, {"variant": "release"}, 31_100_354, RELEASE),
    ("U-Net same", "unet", 1, 2, {"variant": "same"}, 31_030_658, UNET + ", padded"),
    ("U-Net 32-512", "unet", 1, 1, {"widths": (32, 64, 128, 256, 512), **SIGMOID}, 7_759_521, UNET_PP),
    (
        "U-Net wide",
        "unet",
        1,
        1,
        {"variant": "wide", **SIGMOID},
        9_282_246,
        "Zhou et al.'s code; their paper prints 9.13 M, which their code does not give",
    ),
    *(
        (f"U-Net++ {part}", "unet_pp", channels, classes, {"variant": "paper", **SIGMOID, **options}, number, UNET_PP)
        for part, channels, classes, options, number in (
            ("one head", 1, 1, {}, 9_041_601),
            ("four heads", 1, 1, {"deep_supervision": True}, 9_041_700),
            ("four heads, RGB", 3, 1, {"deep_supervision": True}, 9_042_276),
            ("four heads, 3 classes", 1, 3, {"deep_supervision": True}, 9_041_964),
            ("L1", 1, 1, {"level": 1}, 100_961),
            ("L2", 1, 1, {"level": 2}, 511_105),
            ("L3", 1, 1, {"level": 3}, 2_204_961),
            ("L4", 1, 1, {"level": 4}, 9_041_601),
        )
    ),
)

TIRAMISU = "Jegou et al. 2017, table 1 and their code"
DENSE = {"103": (9_322_091, 9_425_163), "67": (3_463_243, 3_502_923), "56": (1_376_795, 1_397_963)}
FCN = "Long et al. 2015 and their code; fixed up-sampling has no parameters"


def checks() -> Iterator[Check]:
    """Yields the checks of each published network at its full size; only shapes are computed."""
    for label, name, channels, classes, options, expected, source in PUBLISHED:
        module = models.build(name, num_classes=classes, **options)
        inputs = "1 channel" if channels == 1 else f"{channels} channels"
        outputs = "1 class" if classes == 1 else f"{classes} classes"
        claim = f"parameters, {inputs} -> {outputs}"
        yield _check(label, claim, expected, shapes(module, channels, module.input_size(32))["params"], source)
    claim = "parameters, 3 channels -> 21 classes"
    params = shapes(models.build("fcn", num_classes=21), 3, 64)["params"]
    trunk = {name: part for name, part in params.items() if not name.startswith("score")}
    yield _check("FCN-8s", claim, 134_362_751, params, FCN)
    yield _check("FCN, VGG-16 trunk", "parameters, with fc6 and fc7", 134_260_544, trunk, FCN)
    for variant, (trained, everything) in DENSE.items():
        variables = shapes(models.build("fc_densenet", num_classes=11, variant=variant), 3, 32)
        yield _check(
            f"FC-DenseNet{variant}", "parameters, 3 channels -> 11 classes", trained, variables["params"], TIRAMISU
        )
        yield _check(f"FC-DenseNet{variant}", "with BatchNorm's statistics", everything, variables, TIRAMISU)


def _check(network: str, claim: str, expected: int, tree, source: str) -> Check:
    count = count_parameters(tree)
    return Check(network, claim, f"{expected:,}", f"{count:,}", count == expected, source)
