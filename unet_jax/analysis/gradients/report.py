"""Shows gradients as a table, and writes them as CSV and as a picture."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from etils.epath import Path

from unet_jax.analysis.gradients.flow import MEASURES, Flow
from unet_jax.analysis.results import write_results
from unet_jax.plotting.figures import COLOURS, new_figure
from unet_jax.plotting.text_table import format_table

# Further runs use these colours again, with the next dashes.
RUN_COLOURS = (*COLOURS, "#000000")
DASHES = ("-", "--", ":", "-.")


def table(flows: Sequence[Flow]) -> str:
    """Returns a table with a line for each run and step, and notes that explain its columns."""
    titles = ("run", "   step", "layers", "  loss", "  median", "first/last", "(of |g|)", "(of RMS)")
    rows = [titles, *map(_cells, flows)]
    return "\n".join(
        [
            format_table(rows, rules=(1,)),
            "",
            "g: gradient of the batch's loss for a convolution's kernel w, before clipping. median: of |g| / |w| over the layers.",
            "first/last: |g| / |w| of the layer that reads the image, divided by that of the deepest head; then the same ratio",
            "of |g|, and of the root mean square of g over the weights.",
        ]
    )


def _cells(flow: Flow) -> list[str]:
    values = (flow.median(), *(flow.first_over_last(measure) for measure in MEASURES))
    return [flow.run, str(flow.step), str(len(flow.layers)), f"{flow.loss:.4f}", *map(_number, values)]


def write(flows: Sequence[Flow], asked: Mapping[str, Mapping[str, int]], out: str | Path) -> list[Path]:
    """Writes `gradients.csv` and `gradients.png` into a folder; files of the same names are replaced.

    Args:
      flows: gradients of every run and step.
      asked: by step as asked for ("0", "latest"), the step of each run; the picture has a panel for each.
      out: the folder; made if missing.

    Returns:
      The paths of the files.
    """
    rows = [
        {
            "run": flow.run,
            "step": flow.step,
            "layer": layer.name,
            "depth": layer.depth,
            "depth_fraction": fraction,
            **{measure: getattr(layer, measure) for measure in MEASURES},
        }
        for flow in flows
        for layer, fraction in zip(flow.layers, fractions(flow), strict=True)
    ]
    return write_results(out, {"gradients.csv": rows, "gradients.png": _draw(flows, asked)})


def fractions(flow: Flow) -> list[float]:
    """Returns the depth of each layer as a fraction: 0 reads the image, 1 is the deepest head."""
    deepest = flow.layers[-1].depth
    return [(layer.depth - 1) / max(deepest - 1, 1) for layer in flow.layers]


def line(flow: Flow) -> tuple[list[float], list[float]]:
    """Returns |g| / |w| by depth: the geometric mean over the layers of one depth, without 0 and NaN.

    Args:
      flow: the gradients.

    Returns:
      The depths as fractions, and the means.
    """
    by_place: dict[float, list[float]] = {}
    for place, layer in zip(fractions(flow), flow.layers, strict=True):
        if layer.relative > 0:
            by_place.setdefault(place, []).append(math.log(layer.relative))
    return list(by_place), [math.exp(float(np.mean(logs))) for logs in by_place.values()]


def _draw(flows: Sequence[Flow], asked: Mapping[str, Mapping[str, int]]):
    by_key = {(flow.run, flow.step): flow for flow in flows}
    runs = list(dict.fromkeys(flow.run for flow in flows))
    columns = min(len(asked), 3)
    rows = -(-len(asked) // columns)
    width, height = max(6.5, 4.2 * columns), 3.9 * rows + 0.4 + 0.2 * -(-len(runs) // columns)
    figure = new_figure(width, height, dpi=110)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis, (label, places) in zip(axes.flat, asked.items(), strict=False):
        for number, run in enumerate(runs):
            flow = by_key[run, places[run]]
            colour = RUN_COLOURS[number % len(RUN_COLOURS)]
            dash = DASHES[number // len(RUN_COLOURS) % len(DASHES)]
            points = [(x, layer.relative) for x, layer in zip(fractions(flow), flow.layers, strict=True)]
            axis.plot(*zip(*points, strict=True), "o", color=colour, markersize=2.5, alpha=0.45)
            axis.plot(*line(flow), dash, color=colour, linewidth=1.6, label=_number(flow.first_over_last()))
        axis.set_yscale("log")
        axis.set_title(_title(label, [places[run] for run in runs]), loc="left", fontsize=10)
        axis.set_xlabel("depth: 0 reads the image, 1 the deepest head", fontsize=9)
        # In every row, because a last row that is not full leaves panels without one below.
        axis.tick_params(labelbottom=True)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(title="first / last", fontsize=8, title_fontsize=8, framealpha=0.7, edgecolor="none")
    for axis in list(axes.flat)[len(asked) :]:
        axis.set_axis_off()
    handles = axes.flat[0].get_legend_handles_labels()[0]
    figure.legend(
        handles,
        runs,
        loc="outside lower center",
        ncols=columns,
        title="dots: layers; lines: geometric mean of the layers of one depth",
        fontsize=8,
        title_fontsize=8,
        frameon=False,
    )
    figure.supylabel("|g| / |w|: gradient norm / kernel norm", fontsize=9)
    return figure


def _title(label: str, steps: Sequence[int]) -> str:
    return f"step {label}" if label.isdigit() else f"{label} (step {', '.join(map(str, dict.fromkeys(steps)))})"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
