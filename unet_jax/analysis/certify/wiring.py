"""Which node reads which, and in which order (`analysis/wiring.py`), beside the equations of the papers."""

from collections.abc import Iterator

from flax import linen as nn

from unet_jax import models
from unet_jax.analysis import wiring
from unet_jax.analysis.certify.check import Check, random_images, random_variables

WIDTHS, VGG_WIDTHS = (
    (2, 3, 4, 5, 6),
    (2, 3, 4, 5, 6, 7),
)  # all different, so that a mistaken source shows in the number of channels, too


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


def fcn(widths=VGG_WIDTHS, channels: int = 2) -> dict[str, list[str]]:
    """FCN-8s: VGG-16 in one line, and scores of fc7, pool4 and pool3; the logits are their sum, whose order is by name."""
    edges, last, pools = {}, f"image:{channels}", []
    for i, number in enumerate((2, 2, 3, 3, 3), 1):
        for j in range(1, number + 1):
            edges[f"conv_{i}_{j}"] = [last]
            last = f"conv_{i}_{j}:{widths[i - 1]}"
        last = f"D(conv_{i}_{number}):{widths[i - 1]}"
        pools.append(last)
    edges |= {"fc_6": [last], "fc_7": [f"fc_6:{widths[5]}"], "score_fr": [f"fc_7:{widths[5]}"]}
    edges |= {"score_pool4": [pools[3]], "score_pool3": [pools[2]]}
    return edges | {"logits_0": ["score_fr:3", "score_pool3:3", "score_pool4:3"]}


def fc_densenet(layers_per_block, stem_features: int, growth_rate: int, channels: int = 2) -> dict[str, list[str]]:
    """Section 3 of the paper, in the order of its authors' code: a layer reads its block's input and all layers before it,
    TU the block's new maps alone, and a block on the way up [TU, skip]."""
    depth, edges = len(layers_per_block) // 2, {"first": [f"image:{channels}"]}

    def block(name: str, number: int, read: list[str]) -> list[str]:
        new = [f"{name}_{k}:{growth_rate}" for k in range(number)]
        edges.update({f"{name}_{k}": read + new[:k] for k in range(number)})
        return new

    read, skips = [f"first:{stem_features}"], []
    for i in range(depth):
        skips.append(read + block(f"down_{i}", layers_per_block[i], read))
        edges[f"transition_down_{i}"] = skips[i]
        read = [
            f"D(transition_down_{i}):{stem_features + growth_rate * sum(layers_per_block[: i + 1])}"
        ]  # TD keeps the number of maps
    new = block("bottleneck", layers_per_block[depth], read)
    for i in reversed(range(depth)):
        edges[f"transition_up_{i}"] = new
        read = [f"transition_up_{i}:{growth_rate * len(new)}", *skips[i]]
        new = block(f"up_{i}", layers_per_block[-1 - i], read)
    return edges | {"head": read + new, "logits_0": ["head:3"]}


def checks() -> Iterator[Check]:
    """Small widths: who reads whom does not depend on them."""
    levels, nested = {"widths": WIDTHS}, {"variant": "paper", "deep_supervision": True, "widths": WIDTHS}
    dense = {"stem_features": 4, "growth_rate": 3, "layers_per_block": (1, 2, 3, 1, 2)}
    paper, equation = "Ronneberger et al. 2015, figure 1", "Zhou et al. 2018, equation 1"
    for label, name, options, size, expected, source in (
        ("U-Net paper", "unet", {"variant": "paper", **levels}, 32, unet(), paper),
        ("U-Net release", "unet", {"variant": "release", **levels}, 32, unet(wide_last=True), "phseg_v5"),
        ("U-Net same", "unet", {"variant": "same", **levels}, 32, unet(), paper),
        ("U-Net++", "unet_pp", nested, 32, unet_pp(), equation),
        ("U-Net++ L2", "unet_pp", {"level": 2, **nested}, 32, unet_pp(level=2), equation + ", i + j <= 2"),
        ("FCN-8s", "fcn", {"widths": VGG_WIDTHS}, 26, fcn(), "Long et al. 2015, figure 3 and their code"),
        ("FC-DenseNet", "fc_densenet", dense, 8, fc_densenet(**dense), "Jegou et al. 2017, section 3 and their code"),
    ):
        found = reads(models.build(name, num_classes=3, **options), size)
        claim = "who reads whom, and in which order"
        yield Check(label, claim, _describe(expected), _describe(found, expected), found == expected, source)


def _describe(edges: dict, expected: dict | None = None) -> str:
    for reader in sorted(set(edges) | set(expected or {})):
        if expected is not None and edges.get(reader) != expected.get(reader):
            return f"{reader} reads {', '.join(edges.get(reader, ['nothing']))}, not {', '.join(expected.get(reader, ['nothing']))}"
    return f"{len(edges)} readers, {sum(map(len, edges.values()))} edges"
