"""Which node reads which, and in which order (`analysis/wiring.py`), beside the equations of the papers."""

from collections.abc import Iterator

from flax import linen as nn

from unet_jax import models
from unet_jax.analysis import wiring
from unet_jax.analysis.certify.check import Check, random_images, random_variables

WIDTHS = (2, 3, 4, 5, 6)  # all different, so that a mistaken source shows in the number of channels, too


def reads(module: nn.Module, size: int = 32, channels: int = 2) -> dict[str, list[str]]:
    """`wiring.reads` of random weights, sources as text: "x_0_0:2", their name and channels; pooled first, "D(x_0_0):2"."""
    size = module.input_size(size)
    found = wiring.reads(module, random_variables(module, channels, size), random_images(size, channels))
    return {reader: [str(source) for source in sources] for reader, sources in found.items()}


def unet(widths=WIDTHS, channels: int = 2, wide_last: bool = False) -> dict[str, list[str]]:
    """Figure 1 of the U-Net paper, up-sampled maps first as in the release, whose last U is as wide as what it reads."""
    depth = len(widths) - 1
    edges = {"enc_0": [f"image:{channels}"]}
    for i in range(1, depth + 1):
        edges[f"enc_{i}"] = [f"D(enc_{i - 1}):{widths[i - 1]}"]
    for i in range(depth):
        below = f"enc_{depth}" if i == depth - 1 else f"dec_{i + 1}"
        edges[f"up_{i}"] = [f"{below}:{widths[i + 1]}"]
        edges[f"dec_{i}"] = [f"up_{i}:{widths[1 if wide_last and i == 0 else i]}", f"enc_{i}:{widths[i]}"]
    return edges | {"head": [f"dec_0:{widths[0]}"], "logits_0": ["head:3"]}


def unet_pp(widths=WIDTHS, channels: int = 2, level: int = 0) -> dict[str, list[str]]:
    """Equation 1 of the U-Net++ paper, in the order of its authors' code, with a head on each x^{0,j}."""
    depth = level or len(widths) - 1
    edges = {"x_0_0": [f"image:{channels}"]}
    for i in range(1, depth + 1):
        edges[f"x_{i}_0"] = [f"D(x_{i - 1}_0):{widths[i - 1]}"]
    for j in range(1, depth + 1):
        for i in range(depth - j + 1):
            edges[f"up_{i}_{j}"] = [f"x_{i + 1}_{j - 1}:{widths[i + 1]}"]
            edges[f"x_{i}_{j}"] = [f"up_{i}_{j}:{widths[i]}", *(f"x_{i}_{k}:{widths[i]}" for k in range(j))]
        edges[f"head_{j}"] = [f"x_0_{j}:{widths[0]}"]
        edges[f"logits_{j - 1}"] = [f"head_{j}:3"]
    return edges


def checks() -> Iterator[Check]:
    """Small widths: who reads whom does not depend on them."""
    small = {"num_classes": 3, "widths": WIDTHS}
    paper, nested = "Ronneberger et al. 2015, figure 1", "Zhou et al. 2018, equation 1"
    deep = {"deep_supervision": True}
    for label, name, knobs, expected, source in (
        ("U-Net paper", "unet", {"variant": "paper"}, unet(), paper),
        ("U-Net release", "unet", {"variant": "release"}, unet(wide_last=True), "phseg_v5"),
        ("U-Net same", "unet", {"variant": "same"}, unet(), paper),
        ("U-Net++", "unet_pp", {"variant": "paper", **deep}, unet_pp(), nested),
        ("U-Net++ L2", "unet_pp", {"variant": "paper", "level": 2, **deep}, unet_pp(level=2), nested + ", i + j <= 2"),
    ):
        found = reads(models.build(name, **small, **knobs))
        claim = "who reads whom, and in which order"
        yield Check(label, claim, _describe(expected), _describe(found, expected), found == expected, source)


def _describe(edges: dict, expected: dict | None = None) -> str:
    for reader in sorted(set(edges) | set(expected or {})):
        if expected is not None and edges.get(reader) != expected.get(reader):
            return f"{reader} reads {', '.join(edges.get(reader, ['nothing']))}, not {', '.join(expected.get(reader, ['nothing']))}"
    return f"{len(edges)} readers, {sum(map(len, edges.values()))} edges"
