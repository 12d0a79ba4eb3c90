"""Checks which node reads which, and in which order (`analysis/wiring.py`), against the papers' equations."""

from collections.abc import Iterator, Sequence
from typing import Any

from unet_jax import models
from unet_jax.analysis import wiring
from unet_jax.analysis.certify.check import Check, random_images, random_variables
from unet_jax.models.network import Network

# All different, so that a wrong source also shows in its number of channels.
WIDTHS, VGG_WIDTHS = (2, 3, 4, 5, 6), (2, 3, 4, 5, 6, 7)

# By reader, its sources in order.
Edges = dict[str, list[str]]


def reads(module: Network, size: int = 32, channels: int = 2) -> Edges:
    """Returns which node of a network with random weights reads which.

    Args:
      module: the network.
      size: height and width of the logits at least, in pixels.
      channels: channels of the image.

    Returns:
      By reader, its sources as text: name and channels, "x_0_0:2", or "D(x_0_0):2" where the map is pooled first.
    """
    size = module.input_size(size)
    edges = wiring.reads(module, random_variables(module, channels, size), random_images(size, channels))
    return {reader: [str(source) for source in sources] for reader, sources in edges.items()}


def unet(widths: Sequence[int] = WIDTHS, channels: int = 2, wide_last: bool = False) -> Edges:
    """Returns figure 1 of the U-Net paper, with the up-sampled map first, as in the authors' release.

    Args:
      widths: channels by level.
      channels: channels of the image.
      wide_last: True for the release, in which the last U has as many channels as the map that it reads.
    """
    depth = len(widths) - 1
    edges = {"enc_0": [f"image:{channels}"]}
    for i in range(1, depth + 1):
        edges[f"enc_{i}"] = [f"D(enc_{i - 1}):{widths[i - 1]}"]
    for i in range(depth):
        below = f"enc_{depth}" if i == depth - 1 else f"dec_{i + 1}"
        edges[f"up_{i}"] = [f"{below}:{widths[i + 1]}"]
        edges[f"dec_{i}"] = [f"up_{i}:{widths[1 if wide_last and i == 0 else i]}", f"enc_{i}:{widths[i]}"]
    return edges | {"head": [f"dec_0:{widths[0]}"], "logits_0": ["head:3"]}


def unet_pp(widths: Sequence[int] = WIDTHS, channels: int = 2, level: int = 0) -> Edges:
    """Returns equation 1 of the U-Net++ paper, in the order of its authors' code, with a head on each x^{0,j}.

    Args:
      widths: channels by level.
      channels: channels of the image.
      level: the pruning level, whose nodes have i + j <= level; 0 for the whole network.
    """
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


def fcn(widths: Sequence[int] = VGG_WIDTHS, channels: int = 2) -> Edges:
    """Returns FCN-8s: the chain of VGG-16, and logits that are the sum of the scores of fc7, pool4 and pool3.

    The summands are in the order of their names.

    Args:
      widths: channels of the five blocks and of fc6 and fc7.
      channels: channels of the image.
    """
    edges: Edges = {}
    last, pools = f"image:{channels}", []
    for i, number in enumerate((2, 2, 3, 3, 3), 1):
        for j in range(1, number + 1):
            edges[f"conv_{i}_{j}"] = [last]
            last = f"conv_{i}_{j}:{widths[i - 1]}"
        last = f"D(conv_{i}_{number}):{widths[i - 1]}"
        pools.append(last)
    edges |= {"fc_6": [last], "fc_7": [f"fc_6:{widths[5]}"], "score_fr": [f"fc_7:{widths[5]}"]}
    edges |= {"score_pool4": [pools[3]], "score_pool3": [pools[2]]}
    return edges | {"logits_0": ["score_fr:3", "score_pool3:3", "score_pool4:3"]}


def fc_densenet(layers_per_block: Sequence[int], stem_features: int, growth_rate: int, channels: int = 2) -> Edges:
    """Returns section 3 of the FC-DenseNet paper, in the order of its authors' code.

    A layer reads its block's input and all layers before it. TU reads only the block's new maps. A block on the way up
    reads [TU, skip].

    Args:
      layers_per_block: on the way down, at the bottom, and on the way up.
      stem_features: channels of the first convolution.
      growth_rate: channels of a layer.
      channels: channels of the image.
    """
    depth, edges = len(layers_per_block) // 2, {"first": [f"image:{channels}"]}

    def block(name: str, number: int, read: list[str]) -> list[str]:
        new = [f"{name}_{k}:{growth_rate}" for k in range(number)]
        edges.update({f"{name}_{k}": read + new[:k] for k in range(number)})
        return new

    read, skips = [f"first:{stem_features}"], []
    for i in range(depth):
        skips.append(read + block(f"down_{i}", layers_per_block[i], read))
        edges[f"transition_down_{i}"] = skips[i]
        # TD keeps the number of maps.
        read = [f"D(transition_down_{i}):{stem_features + growth_rate * sum(layers_per_block[: i + 1])}"]
    new = block("bottleneck", layers_per_block[depth], read)
    for i in reversed(range(depth)):
        edges[f"transition_up_{i}"] = new
        read = [f"transition_up_{i}:{growth_rate * len(new)}", *skips[i]]
        new = block(f"up_{i}", layers_per_block[-1 - i], read)
    return edges | {"head": read + new, "logits_0": ["head:3"]}


def checks() -> Iterator[Check]:
    """Yields the checks of networks of small widths, as the edges do not depend on the widths."""
    levels: dict[str, Any] = {"widths": WIDTHS}
    nested: dict[str, Any] = {"variant": "paper", "deep_supervision": True, "widths": WIDTHS}
    dense: dict[str, Any] = {"stem_features": 4, "growth_rate": 3, "layers_per_block": (1, 2, 3, 1, 2)}
    paper, equation = "Ronneberger et al. 2015, figure 1", "Zhou et al. 2018, equation 1"
    cases: tuple[tuple[str, str, dict[str, Any], int, Edges, str], ...] = (
        ("U-Net paper", "unet", {"variant": "paper", **levels}, 32, unet(), paper),
        ("U-Net release", "unet", {"variant": "release", **levels}, 32, unet(wide_last=True), "phseg_v5"),
        ("U-Net same", "unet", {"variant": "same", **levels}, 32, unet(), paper),
        ("U-Net++", "unet_pp", nested, 32, unet_pp(), equation),
        ("U-Net++ L2", "unet_pp", {"level": 2, **nested}, 32, unet_pp(level=2), equation + ", i + j <= 2"),
        ("FCN-8s", "fcn", {"widths": VGG_WIDTHS}, 26, fcn(), "Long et al. 2015, figure 3 and their code"),
        ("FC-DenseNet", "fc_densenet", dense, 8, fc_densenet(**dense), "Jegou et al. 2017, section 3 and their code"),
    )
    for label, name, options, size, expected, source in cases:
        edges = reads(models.build(name, num_classes=3, **options), size)
        claim = "which node reads which, in which order"
        yield Check(label, claim, _describe(expected), _describe(edges, expected), edges == expected, source)


def _describe(edges: Edges, expected: Edges | None = None) -> str:
    """Returns the number of edges, or the first reader that differs from `expected`."""
    for reader in sorted(set(edges) | set(expected or {})):
        if expected is not None and edges.get(reader) != expected.get(reader):
            sources, right = (", ".join(graph.get(reader, ["nothing"])) for graph in (edges, expected))
            return f"{reader} reads {sources}, not {right}"
    return f"{len(edges)} readers, {sum(map(len, edges.values()))} edges"
