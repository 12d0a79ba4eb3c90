"""Compares the networks' logits with those of `analysis/reference`, which is plain NumPy in float64."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from unet_jax import models
from unet_jax.analysis.certify.check import Check, random_images, random_variables
from unet_jax.analysis.reference import fc_densenet, fcn, grid
from unet_jax.runtime.unoptimized_jit import jit_without_optimization

TOLERANCE = 1e-5


class Family(NamedTuple):
    """Describes how one kind of network is compared with its reference.

    Attributes:
      narrow: options that make the network small.
      logits: the reference, `(variables, image, **fields) -> logits of each head`.
      fields: names of the network's options that the reference takes.
    """

    narrow: dict[str, Any]
    logits: Callable[..., list[np.ndarray]]
    fields: tuple[str, ...]


GRID = ("widths", "padding", "norm", "upsample", "variant")
LEVELS = {"widths": (4, 6, 8)}
FAMILIES = {
    "unet": Family(LEVELS, grid.unet, GRID),
    "unet_pp": Family(LEVELS, grid.unet_pp, (*GRID, "deep_supervision", "level")),
    "fcn": Family({"widths": (2, 3, 4, 5, 6, 7)}, fcn.logits, ("stride",)),
    "fc_densenet": Family(
        {"stem_features": 4, "growth_rate": 3, "layers_per_block": (1, 2, 3, 1, 2)},
        fc_densenet.logits,
        ("layers_per_block",),
    ),
}

# (label, model, options, smallest size of the logits)
CASES: tuple[tuple[str, str, dict[str, Any], int], ...] = (
    ("U-Net paper", "unet", {"variant": "paper"}, 12),
    ("U-Net release", "unet", {"variant": "release"}, 12),
    ("U-Net same", "unet", {"variant": "same"}, 24),
    ("U-Net, odd size", "unet", {"variant": "same"}, 21),
    *((f"U-Net, norm {norm}", "unet", {"norm": norm}, 16) for norm in ("batch", "group", "instance")),
    *((f"U-Net, {method}", "unet", {"upsample": method}, 16) for method in ("bilinear", "nearest")),
    ("U-Net++ paper", "unet_pp", {"variant": "paper", "deep_supervision": True}, 24),
    ("U-Net++ BatchNorm", "unet_pp", {"norm": "batch", "deep_supervision": True}, 16),
    ("U-Net++ one head", "unet_pp", {"variant": "paper"}, 16),
    ("U-Net++ L1", "unet_pp", {"variant": "paper", "level": 1}, 16),
    ("U-Net++ valid", "unet_pp", {"padding": "valid", "deep_supervision": True}, 12),
    # At this size some pools see an odd number of pixels.
    *((f"FCN-{stride}s", "fcn", {"stride": stride}, 45) for stride in (32, 16, 8)),
    ("FC-DenseNet", "fc_densenet", {}, 16),
    ("FC-DenseNet, odd size", "fc_densenet", {}, 13),
)


def checks() -> Iterator[Check]:
    """Yields the checks of narrow networks of few levels, in which each operator occurs at each place."""
    for label, name, options, size in CASES:
        family = FAMILIES[name]
        module = models.build(name, num_classes=2, **family.narrow, **options)
        size = module.input_size(size)
        variables, image = random_variables(module, 2, size), random_images(size, 2)
        heads: Any = jit_without_optimization(module.apply)(variables, image)
        ours = [np.asarray(logits[0], np.float64) for logits in heads]
        theirs = family.logits(variables, image[0], **{field: module.options[field] for field in family.fields})
        fits = len(ours) == len(theirs) and all(a.shape == b.shape for a, b in zip(ours, theirs, strict=True))
        error = (
            max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(ours, theirs, strict=True)) if fits else np.inf
        )
        claim = f"logits compared with plain NumPy, {size} pixels"
        heads = "1 head" if len(ours) == 1 else f"{len(ours)} heads"
        yield Check(
            label,
            claim,
            f"within {TOLERANCE:.0e}",
            f"{error:.1e}, {heads}",
            bool(error < TOLERANCE),
            "analysis/reference",
        )
