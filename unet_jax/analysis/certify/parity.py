"""The networks' logits beside those of `analysis/reference.py`, which is plain NumPy in float64."""

from collections.abc import Iterator

import numpy as np

from unet_jax import models
from unet_jax.analysis import reference
from unet_jax.analysis.certify.check import Check, random_images, random_variables
from unet_jax.analysis.quick import quick_jit

TOLERANCE = 1e-5
WIDTHS = (4, 6, 8)
SAME = {"padding": "same"}

# (label, model, knobs, smallest size of the logits)
CASES = (
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
)


def checks() -> Iterator[Check]:
    """Narrow networks of three levels: each operator and each place occurs."""
    for label, name, knobs, size in CASES:
        module = models.build(name, num_classes=2, widths=WIDTHS, **knobs)
        size = module.input_size(size)
        variables, image = random_variables(module, 2, size), random_images(size, 2)
        ours = [np.asarray(logits[0], np.float64) for logits in quick_jit(module.apply)(variables, image)]
        net = reference.Grid(
            variables,
            module.depth,
            padding=module.padding,
            norm=module.norm,
            upsample=module.upsample,
            release=module.variant == "release",
        )
        if name == "unet":
            theirs = net.unet(image[0])
        else:
            level = module.level or module.depth
            theirs = net.unet_pp(image[0], range(1, level + 1) if module.deep_supervision else [level], level)
        fits = len(ours) == len(theirs) and all(a.shape == b.shape for a, b in zip(ours, theirs, strict=True))
        error = (
            max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(ours, theirs, strict=True)) if fits else np.inf
        )
        claim = f"logits beside plain NumPy, {size} pixels"
        expected, found = f"within {TOLERANCE:.0e}", f"{error:.1e}, {len(ours)} head{'s' * (len(ours) > 1)}"
        yield Check(label, claim, expected, found, bool(error < TOLERANCE), "analysis/reference.py")
