"""Checks `Network.halo`: raises rows of an image, one at a time, and looks for the logits that change.

Kernels are positive, biases are 0, and the image is 0 except for one row. So each map is positive where it reads that row, and
0 elsewhere: nothing cancels, no ReLU cuts anything, and a maximum is positive if one of its pixels is. The computation is
float64, because the outermost rows count little. The arithmetic of `models/receptive_field.py` has no part in it.

Logits that are one multiple apart read alike. So the rows of one multiple, each raised in another image, show what the logits
at every position in the grid of the pools read. Images are as narrow as the network allows. Those of networks with a
small halo are square, and one pixel is raised instead of a row. So the columns are checked, too.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax import models
from unet_jax.analysis.certify.check import Check, shapes
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.network import Network
from unet_jax.models.receptive_field import trace
from unet_jax.models.unet import UNet
from unet_jax.runtime.unoptimized_jit import jit_without_optimization

# By row of the logits, the first and the last row of the image that it reads.
Spans = list[tuple[int, int]]

SOURCE = "rows that are raised one by one, with positive kernels"
# Up to this halo images are square.
SQUARE = 32
# As few channels as possible, and fewer blocks where one more does not need another check.
ENCODER_OPTIONS: dict[str, dict[str, Any]] = {
    "vgg16_bn": {"features": (1,) * 5},
    "resnet34": {"features": 1},
    "resnet50": {"features": 1, "blocks": (1, 1, 1, 1)},
    "densenet121": {"features": 2, "growth_rate": 1, "layers_per_block": (1, 2, 1, 1)},
    "densenet40": {"features": 2, "growth_rate": 1, "layers_per_block": (1, 2, 1)},
}
# (network, model, depth of a grid, other options)
CASES: tuple[tuple[str, str, int, dict[str, Any]], ...] = (
    *(("U-Net", "unet", depth, {}) for depth in range(1, 6)),
    *(("U-Net", "unet", 2, {"padding": "valid", "upsample": up}) for up in ("transpose", "nearest", "bilinear")),
    ("U-Net", "unet", 2, {"upsample": "nearest", "norm": "batch"}),
    ("U-Net", "unet", 4, {"upsample": "bilinear"}),
    ("U-Net++", "unet_pp", 5, {"deep_supervision": True}),
    ("U-Net++", "unet_pp", 3, {"deep_supervision": True, "padding": "valid", "upsample": "bilinear"}),
    *((f"FCN-{stride}s", "fcn", 0, {"stride": stride, "widths": (1,) * 6}) for stride in (32, 16, 8)),
    ("FC-DenseNet", "fc_densenet", 0, {"stem_features": 1, "growth_rate": 1, "layers_per_block": (1, 2, 3, 1, 2)}),
)


class NarrowUNet(UNet):
    """U-Net with an encoder of few channels."""

    def encode(self, image: jax.Array, train: bool, depth: int) -> dict[int, jax.Array]:
        """Returns the encoder's maps by level, down to level `depth`."""
        options = ENCODER_OPTIONS[self.encoder]
        encoder = ENCODERS[self.encoder](depth=depth, dtype=jnp.dtype(self.dtype), name="encoder", **options)
        return dict(zip(encoder.levels, encoder(image, train), strict=True))


def checks() -> Iterator[Check]:
    """Yields the checks of every kind of network, with few channels, as the halo does not depend on them."""
    options: dict[str, Any] = {"num_classes": 1, "activation": "sigmoid", "dtype": "float64"}
    with jax.enable_x64(True):
        for label, name, depth, others in CASES:
            widths: dict[str, Any] = {"widths": (1,) * (depth + 1)} if depth else {}
            values = [str(value) for key, value in others.items() if key in ("padding", "upsample")]
            claim = ", ".join(["halo", *([f"depth {depth}"] if depth else []), *values])
            yield check(label, claim, models.build(name, **options, **widths, **others))
        for encoder in ENCODER_OPTIONS:
            channels = ENCODERS[encoder](parent=None).widths
            depth = max(channels)
            network = NarrowUNet(encoder=encoder, widths=(1,) * depth + (channels[depth],), **options)
            yield check("U-Net", f"halo, encoder {encoder}", network)
        for norm in ("group", "instance"):
            yield _whole_map(norm, models.build("unet", widths=(2, 2), norm=norm, **options))


def check(label: str, claim: str, network: Network) -> Check:
    """Compares the halo of a network, and the rows that the logits read at every position, with those found by raising rows.

    Args:
      label: the network's name.
      claim: what is checked.
      network: of type float64.
    """
    offset = (network.input_size(1) - network.output_size(network.input_size(1))) // 2
    levels = [network.at_level(level, one_head=True) for level in network.levels]
    claimed = [[trace(level).reads(row, row) for row in range(trace(network).multiple)] for level in levels]
    read = rows_read(network, max(level.halo or 0 for level in levels))
    agree = sum(a == b for one, other in zip(claimed, read, strict=True) for a, b in zip(one, other, strict=True))
    expected = _text([level.halo for level in levels], sum(map(len, claimed)))
    found = _text([_halo(spans, offset) for spans in read], agree)
    return Check(label, claim, expected, found, expected == found, SOURCE)


def rows_read(network: Network, halo: int) -> list[Spans]:
    """Returns the rows of the image that the logits of each head read, found by raising rows.

    Args:
      network: of type float64.
      halo: the image is so large that logits from farther away would be seen, too.

    Returns:
      For each head those of its rows 0 .. multiple - 1, where row 0 of the image is that of the logits less the rows that valid
      padding removes.
    """
    step = trace(network).multiple
    height = network.input_size(2 * (halo + 2 * step))
    is_square = halo <= SQUARE
    first = height // 2 // step * step
    # Nothing is raised in the last image.
    images = np.zeros((step + 1, height, height if is_square else network.input_size(1), 1))
    for k in range(step):
        images[k, first + k, first + k if is_square else slice(None)] = 1
    spans = []
    for logits in _heads(network, images):
        rows, columns = (np.asarray(logits[..., 0]).any(axis) for axis in (2, 1))
        if rows[-1].any():
            raise ValueError("logits of an image of zeros: the network adds something to it")
        spans.append(_spans(np.concatenate([rows, columns], 1) if is_square else rows, rows.shape[1], first))
    return spans


def _spans(changed: np.ndarray, height: int, first: int) -> Spans:
    """Returns the rows that are read.

    Args:
      changed: True where the logits of an image changed, `[multiple + 1, height]`; the columns may follow.
      height: the number of rows of the logits.
      first: the row that is raised in the first image.
    """
    step = len(changed) - 1
    image, row = np.nonzero(changed)
    row = row % height
    # Row q + n step of the logits reads n step rows below those that row q reads.
    source = first + image - row // step * step
    return [(int(source[row % step == q].min()), int(source[row % step == q].max())) for q in range(step)]


def _heads(network: Network, images: np.ndarray, bias: float = 0.0) -> Sequence[jax.Array]:
    """Returns the logits of a network with positive kernels, one bias everywhere, and a BatchNorm that changes nothing."""

    def value(path, leaf):
        values = {"kernel": 1 / np.prod(leaf.shape[:-2]), "bias": bias, "mean": 0.0, "scale": 1.0, "var": 1.0}
        return np.full(leaf.shape, values[path[-1].key])

    variables = jax.tree_util.tree_map_with_path(value, shapes(network, 1, images.shape[1]))
    # Optimisation pays where there are many images.
    jit: Any = jax.jit if len(images) > 16 else jit_without_optimization
    return jit(network.apply)(variables, images)


def _whole_map(norm: str, network: Network) -> Check:
    """Checks that logits read a row that is far away, and that the network has no halo."""
    images = np.zeros((2, 512, 2, 1))
    images[0, 0] = 1
    # A bias, because the raised row makes all others negative.
    logits = np.asarray(_heads(network, images, bias=1.0)[0])
    found = (
        "read, no halo" if (logits[0, -1] != logits[1, -1]).all() and network.halo is None else "not read, or a halo"
    )
    return Check("U-Net", f"norm {norm}: a row 511 rows away", "read, no halo", found, found == "read, no halo", SOURCE)


def _halo(spans: Spans, offset: int) -> int:
    """Returns the largest distance; row q of the logits lies at row q + offset of the image."""
    return max(max(q + offset - low, high - q - offset) for q, (low, high) in enumerate(spans))


def _text(halos: Sequence[int | None], positions: int) -> str:
    return f"{', '.join(map(str, halos))}, at {positions} positions"
