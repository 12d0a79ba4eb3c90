"""Gradients as a table, as CSV and as a picture."""

import csv
import math
from collections.abc import Mapping, Sequence

import numpy as np
from etils.epath import Path

from unet_jax.analysis.gradients.flow import MEASURES, Flow
from unet_jax.plotting import drawing
from unet_jax.storage.write_errors import report_write_errors

COLUMNS = ("run", "step", "layer", "depth", "depth_fraction", *MEASURES)
# Told apart by colour-blind eyes (after Okabe and Ito); more runs go round again, with the next dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", "--", ":", "-.")


def table(flows: Sequence[Flow]) -> str:
    """A line for each run and step, and what its columns say."""
    width = max(len("run"), *(len(flow.run) for flow in flows))
    lines = [f"{'run':{width}}  {'step':>7}  layers    loss    median  first/last  (of |g|)  (of RMS)"]
    lines.append("-" * len(lines[0]))
    for flow in flows:
        ratios = [flow.first_over_last(measure) for measure in MEASURES]
        lines.append(
            f"{flow.run:{width}}  {flow.step:7}  {len(flow.layers):6}  {flow.loss:6.4f}  {_cell(flow.median(), 8)}  "
            f"{_cell(ratios[0], 10)}  {_cell(ratios[1], 8)}  {_cell(ratios[2], 8)}"
        )
    return "\n".join(
        [
            *lines,
            "",
            "g: the gradient of the batch's loss for a convolution's kernel w, before clipping. median: of |g| / |w| over the "
            "layers.",
            "first/last: |g| / |w| of the layer that reads the image over that of the deepest head; beside it the same ratio "
            "of |g|,",
            "and of g's root mean square over the weights.",
        ]
    )


def write(flows: Sequence[Flow], asked: Mapping[str, Mapping[str, int]], out: str | Path) -> list[Path]:
    """Writes `gradients.csv` and `gradients.png` into `out`; those there are replaced.

    Args:
      flows: of every run and step.
      asked: the step of each run by what was asked for ("0", "latest"): a panel of the picture each.
      out: the folder; made if not there.
    """
    paths = [Path(out) / "gradients.csv", Path(out) / "gradients.png"]
    with report_write_errors():
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        with paths[0].open("w") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for flow in flows:
                for layer, place in zip(flow.layers, fractions(flow), strict=True):
                    measured = (getattr(layer, measure) for measure in MEASURES)
                    rows.writerow((flow.run, flow.step, layer.name, layer.depth, place, *measured))
        drawing.save_figure(_draw(flows, asked), paths[1])
    return paths


def fractions(flow: Flow) -> list[float]:
    """How deep each layer lies: 0 reads the image, 1 is the deepest head."""
    deepest = flow.layers[-1].depth
    return [(layer.depth - 1) / max(deepest - 1, 1) for layer in flow.layers]


def line(flow: Flow) -> tuple[list[float], list[float]]:
    """|g| / |w| by depth: of layers of one depth the geometric mean; what is 0 or NaN is left out."""
    by_place: dict[float, list[float]] = {}
    for place, layer in zip(fractions(flow), flow.layers, strict=True):
        if layer.relative > 0:
            by_place.setdefault(place, []).append(math.log(layer.relative))
    return list(by_place), [math.exp(np.mean(logs)) for logs in by_place.values()]


def _draw(flows: Sequence[Flow], asked: Mapping[str, Mapping[str, int]]):
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second that --help need not wait for
    from matplotlib.figure import Figure

    by_key = {(flow.run, flow.step): flow for flow in flows}
    runs = list(dict.fromkeys(flow.run for flow in flows))
    columns = min(len(asked), 3)
    rows = -(-len(asked) // columns)
    size = (max(6.5, 4.2 * columns), 3.9 * rows + 0.4 + 0.2 * -(-len(runs) // columns))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no window
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis, (label, places) in zip(axes.flat, asked.items(), strict=False):
        for number, run in enumerate(runs):
            flow = by_key[run, places[run]]
            colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
            points = [(x, layer.relative) for x, layer in zip(fractions(flow), flow.layers, strict=True)]
            axis.plot(*zip(*points, strict=True), "o", color=colour, markersize=2.5, alpha=0.45)
            axis.plot(*line(flow), dash, color=colour, linewidth=1.6, label=_cell(flow.first_over_last()))
        axis.set_yscale("log")
        axis.set_title(_title(label, [places[run] for run in runs]), loc="left", fontsize=10)
        axis.set_xlabel("depth: 0 reads the image, 1 the deepest head", fontsize=9)
        axis.tick_params(labelbottom=True)  # of every row: where the last is not full, it has none below
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
        title="dots: layers; lines: the geometric mean of those of one depth",
        fontsize=8,
        title_fontsize=8,
        frameon=False,
    )
    figure.supylabel("|g| / |w|: gradient norm / kernel norm", fontsize=9)
    return figure


def _title(label: str, steps: Sequence[int]) -> str:
    return f"step {label}" if label.isdigit() else f"{label} (step {', '.join(map(str, dict.fromkeys(steps)))})"


def _cell(value: float, width: int = 0) -> str:
    return ("-" if math.isnan(value) else f"{value:.3g}").rjust(width)
