"""Measures feature reuse: how much each convolution of a trained network weighs each of the maps that it reads."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from etils.epath import Path
from flax import linen as nn
from flax.traverse_util import flatten_dict

from unet_jax.analysis import wiring
from unet_jax.analysis.results import write_results
from unet_jax.errors import UserError
from unet_jax.plotting.figures import new_figure
from unet_jax.plotting.text_table import format_table
from unet_jax.runs import load
from unet_jax.runs.workdir import resolve
from unet_jax.storage import paths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Names of a node of a grid, and of a layer of a dense block.
NODE = re.compile(r"x_\d+_\d+|dec_\d+")
LAYER = re.compile(r"(down_\d+|bottleneck|up_\d+)_\d+")


class Use(NamedTuple):
    """Describes how much one convolution weighs one of its sources.

    Attributes:
      block: the group that it is drawn with: "nodes", or the name of a dense block.
      reader: the node or layer of the convolution.
      source: name of the source.
      channels: the number of the source's channels.
      weight: mean absolute weight of these channels.
      relative: `weight` divided by the mean absolute weight of all channels; 1 is even use.
    """

    block: str
    reader: str
    source: str
    channels: int
    weight: float
    relative: float


def uses(module: nn.Module, variables: Mapping[str, Any], channels: int) -> list[Use]:
    """Measures the use of every source of every convolution that reads more than one.

    Args:
      module: the network.
      variables: its trained variables.
      channels: channels of the images.

    Returns:
      The uses by reader, in the order of the channels.

    Raises:
      UserError: no convolution of the network reads more than one source.
    """
    size = module.input_size(max(32, module.multiple))
    image = np.random.default_rng(0).normal(size=(1, size, size, channels)).astype(np.float32)
    kernels = {path: leaf for path, leaf in flatten_dict(variables["params"]).items() if path[-1] == "kernel"}
    all_uses = []
    for reader, sources in wiring.reads(module, variables, image).items():
        if len(sources) < 2 or not (NODE.fullmatch(reader) or LAYER.fullmatch(reader)):
            continue
        total = sum(source.channels for source in sources)
        first = min(path for path, leaf in kernels.items() if path[0] == reader and leaf.shape[-2] == total)
        weight = np.abs(np.asarray(kernels[first], np.float64)).mean((0, 1, 3))
        block, named = _block(reader, sources)
        for source, places in named.items():
            mean = float(weight[places].mean())
            all_uses.append(Use(block, reader, source, len(places), mean, float(mean / weight.mean())))
    if not all_uses:
        raise UserError(
            f"no convolution of {type(module).__name__} reads more than one map, so there is no reuse; "
            "give a run of unet, unet_pp or fc_densenet"
        )
    return all_uses


def _block(reader: str, sources: list[wiring.Source]) -> tuple[str, dict[str, list[int]]]:
    """Returns the block that a reader is drawn with, and the channels of each of its sources.

    In a dense block, whose layers are `BLOCK_l`, all maps from outside the block are one source, "input". In a grid the
    up-sampled map is "U".
    """
    if NODE.fullmatch(reader):
        block, nested = "nodes", reader.startswith("x_")
        names = [re.sub(r"encoder_\d+", "x^{i,0}" if nested else "skip", source.name) for source in sources]
        names = [re.sub(r"x_\d+_(\d+)", r"x^{i,\1}", re.sub(r"enc_\d+", "skip", name)) for name in names]
        names = ["U" if name.startswith("up_") else name for name in names]
    else:
        block = reader.rpartition("_")[0]
        names = [source.name if source.name.startswith(f"{block}_") else "input" for source in sources]
    places: dict[str, list[int]] = {}
    for name, source in zip(names, sources, strict=True):
        places.setdefault(name, []).extend(range(source.first, source.first + source.channels))
    return block, places


def table(all_uses: list[Use]) -> str:
    """Returns a table with a line for each reader: its sources and their relative weights."""
    rows = [("reader".ljust(14), "sources, with mean |weight| relative to even use")]
    for reader in dict.fromkeys(use.reader for use in all_uses):
        sources = (f"{use.source} {use.relative:.2f}" for use in all_uses if use.reader == reader)
        rows.append((reader, "  ".join(sources)))
    return format_table(rows, left=(0, 1))


def write(all_uses: list[Use], out: Path) -> list[Path]:
    """Writes `reuse.csv` and `reuse.png` into a folder; files of the same names are replaced.

    Args:
      all_uses: the uses, from `uses`.
      out: the folder.

    Returns:
      The paths of the files.
    """
    rows = [use._asdict() for use in all_uses]
    return write_results(out, {"reuse.csv": rows, "reuse.png": _draw(all_uses)})


def _maps(all_uses: list[Use]) -> Iterator[tuple[str, list[str], list[str], np.ndarray]]:
    """Yields each block's name, readers, sources, and weights `[sources, readers]`; NaN where a source is not read."""
    for block in dict.fromkeys(use.block for use in all_uses):
        in_block = [use for use in all_uses if use.block == block]
        readers, sources = (list(dict.fromkeys(getattr(use, key) for use in in_block)) for key in ("reader", "source"))
        readers, sources = sorted(readers, key=_natural), sorted(sources, key=_natural)
        weights = np.full((len(sources), len(readers)), np.nan)
        for use in in_block:
            weights[sources.index(use.source), readers.index(use.reader)] = use.weight
        yield block, readers, sources, weights


def _natural(name: str) -> tuple:
    """Returns a sorting key: "input" and "U" first, then names, with numbers by their value."""
    return name not in ("input", "U"), [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _draw(all_uses: list[Use]) -> "Figure":
    """Draws a heat map for each block."""
    maps = list(_maps(all_uses))
    columns = min(len(maps), 3)
    rows = -(-len(maps) // columns)
    widest, tallest = max(len(m[1]) for m in maps), max(len(m[2]) for m in maps)
    width, height = columns * max(4.0, 0.4 * widest + 2), rows * max(3.0, 0.35 * tallest + 1.6)
    figure = new_figure(width, height, dpi=100)
    for axis, (block, readers, sources, weights) in zip(
        figure.subplots(rows, columns, squeeze=False).flat, maps, strict=False
    ):
        image = axis.imshow(weights, cmap="viridis", vmin=0)
        axis.set_xticks(range(len(readers)), readers, rotation=90, fontsize=8)
        axis.set_yticks(range(len(sources)), sources, fontsize=8)
        axis.set_title(f"{block}: mean |weight|", loc="left", fontsize=9)
        figure.colorbar(image, ax=axis, shrink=0.8)
    for axis in list(figure.axes)[len(maps) : rows * columns]:
        axis.set_axis_off()
    return figure


def measure_run(workdir: str, checkpoint: str = "best", out: str = "") -> None:
    """Measures the feature reuse of a trained run, prints a table and writes CSV and picture.

    Args:
      workdir: folder of the run.
      checkpoint: "best", "latest" or a step.
      out: folder to write into; "" for WORKDIR/reuse.

    Raises:
      UserError: the run or the checkpoint cannot be read, or no convolution reads more than one source.
    """
    folder = paths.expand(out, "--out") if out else resolve(workdir) / "reuse"
    # "accurate" opens the whole network, with all heads.
    run = load.open_run(workdir, checkpoint=checkpoint, mode="accurate")
    predictor = run.predictor
    all_uses = uses(predictor.module, predictor.variables, predictor.channels)
    print(f"{workdir}, checkpoint of step {run.step}\n\n{table(all_uses)}\n")
    for path in write(all_uses, folder):
        print(f"written: {path}")
