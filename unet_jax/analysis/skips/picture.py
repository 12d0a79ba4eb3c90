"""Draws a study: nodes and skips coloured by the points lost without them, or bars of the similarity of maps."""

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from unet_jax.analysis.skips.localise import MEANS, METRICS
from unet_jax.analysis.skips.study_result import RunResult, Study
from unet_jax.plotting.figures import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The radius of a node and the distance between two levels, in columns; a column is `INCHES` inches wide.
RADIUS, ROW = 0.42, 1.75
INCHES = 0.72
DROPS = "YlOrRd"


def draw_networks(study: Study) -> "Figure":
    """Draws a column of panels for each run and a row for each mean and metric, with one colour scale.

    The scale is a square root, because a skip costs a few points and a node all of them.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    runs = study.runs
    means = list(dict.fromkeys(score.mean for score in runs[0].scores[1:]))
    rows = [(mean, metric) for mean in means for metric in METRICS]
    frames = [_frame(run) for run in runs]
    widths = [max(frame[1] - frame[0], 5.0) for frame in frames]
    bottom, top = min(frame[2] for frame in frames), max(frame[3] for frame in frames)
    figure = new_figure(INCHES * sum(widths) + 1.2, len(rows) * (INCHES * (top - bottom) + 0.8))
    axes = figure.subplots(len(rows), len(runs), squeeze=False, width_ratios=widths)
    drops = [score.drops[f"{metric}/mean"] for run in runs for score in run.scores for metric in METRICS]
    scale = PowerNorm(0.5, 0, max(1.0, *(drop for drop in drops if not math.isnan(drop))))
    colour = ScalarMappable(scale, colormaps[DROPS])
    for (mean, metric), row in zip(rows, axes, strict=True):
        named = "IoU" if metric == "iou" else "boundary IoU"
        for run, frame, axis in zip(runs, frames, row, strict=True):
            together = next(s for s in run.scores if (s.kind, s.mean) == ("skips", mean)).drops[f"{metric}/mean"]
            title = f"{run.name}: {named} {run.scores[0].scores[f'{metric}/mean']:.4f}\n"
            title += f"points lost with the mean of {MEANS[mean]}; all skips together: {_number(together)}"
            axis.set_title(title, loc="left", fontsize=9)
            _network(axis, run, mean, f"{metric}/mean", colour)
            axis.set_xlim(frame[0], frame[1])
            axis.set_ylim(bottom, top)
            axis.set_aspect("equal")
            axis.set_axis_off()
    bar = figure.colorbar(colour, ax=axes, shrink=0.6, aspect=30, pad=0.01)
    bar.set_label(f"points lost, mean over {', '.join(study.classes)}", fontsize=9)
    return figure


def _place(run: RunResult, node: str) -> tuple[float, float]:
    return float(run.graph.column[node]), -ROW * run.graph.level[node]


def _lift(run: RunResult, source: str, reader: str) -> float:
    """Returns the height of a skip's arc above its row, which passes over the nodes between its ends."""
    (x0, y0), (x1, y1) = _place(run, source), _place(run, reader)
    between = sum(x0 < x < x1 and y == y0 for x, y in (_place(run, node) for node in run.graph.level))
    return 0.0 if y0 != y1 or not between else 0.4 + 0.36 * between


def _frame(run: RunResult) -> tuple[float, float, float, float]:
    """Returns left, right, bottom and top of a run's drawing, in columns."""
    x, y = zip(*(_place(run, node) for node in run.graph.level), strict=True)
    top = max(_place(run, skip.source)[1] + _lift(run, skip.source, skip.reader) for skip in run.graph.skips)
    return min(x) - 0.7, max(x) + 0.7, min(y) - 0.6, max(top + 0.25, max(y) + 0.6)


def _network(axis, run: RunResult, mean: str, metric: str, colour) -> None:
    from matplotlib.patches import Circle, FancyArrowPatch

    drops = {(score.kind, score.name): score.drops[metric] for score in run.scores if score.mean == mean}

    def arrow(source, reader, **style):
        ends = _place(run, source), _place(run, reader)
        lift, length = _lift(run, source, reader), math.dist(*ends)
        # An arc3 passes above the middle of its chord at half of `rad`, which is in units of the chord's length.
        bow = f"arc3,rad={-2 * lift / length}"
        shrink = 72 * INCHES * RADIUS
        axis.add_patch(
            FancyArrowPatch(
                *ends, connectionstyle=bow, arrowstyle="-|>", shrinkA=shrink, shrinkB=shrink, mutation_scale=8, **style
            )
        )
        return (ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2 + lift

    for source, reader in run.graph.edges:
        arrow(source, reader, color="#c8c8c8", linewidth=0.8, zorder=1)
    for skip in run.graph.skips:
        drop = drops["skip", skip.name]
        middle = arrow(skip.source, skip.reader, color="#555555", linewidth=4.2, zorder=2)
        arrow(skip.source, skip.reader, color=_tint(colour, drop), linewidth=3.0, zorder=3)
        label = _number(drop) if "->" in skip.name else f"{skip.name} {_number(drop)}"
        box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        axis.text(*middle, label, fontsize=7.5, ha="center", va="center", zorder=4, bbox=box)
    for node in run.graph.level:
        node_drop = drops.get(("node", node))
        face = (1.0, 1.0, 1.0) if node_drop is None else _tint(colour, node_drop)
        axis.add_patch(Circle(_place(run, node), RADIUS, facecolor=face, edgecolor="#555555", linewidth=0.8, zorder=5))
        ink = "white" if np.dot(face[:3], (0.3, 0.59, 0.11)) < 0.45 else "black"
        label = "sum" if node_drop is None else f"{_label(node)}\n{_number(node_drop)}"
        axis.text(*_place(run, node), label, fontsize=7.5, color=ink, ha="center", va="center", zorder=6)


def _tint(colour, drop: float):
    return (0.85, 0.85, 0.85, 1.0) if math.isnan(drop) else colour.to_rgba(drop)


def _number(drop: float) -> str:
    return "-" if math.isnan(drop) else f"{drop:.1f}"


def _label(node: str) -> str:
    return re.sub(r"^x_(\d+)_(\d+)$", r"$x^{\1,\2}$", node).replace("bottleneck", "bottom").replace("encoder", "map")


def draw_bars(study: Study) -> "Figure":
    """Draws the similarity of U and the skips at the last node of each level: nearest skip, and farthest if several."""
    series: dict[str, dict[int, float]] = {}
    for run in study.runs:
        for level in sorted({pair.level for pair in run.pairs}):
            last = [pair for pair in run.pairs if pair.level == level][-1].node
            pairs = [pair for pair in run.pairs if pair.node == last and pair.a == "U"]
            nearest, farthest = (pick(pairs, key=lambda pair: pair.distance) for pick in (min, max))
            several = any(pair.distance for pair in run.pairs if pair.a == "U")
            series.setdefault(f"{run.name}: {'nearest skip' if several else 'skip'}", {})[level] = nearest.cka
            if farthest is not nearest:
                series.setdefault(f"{run.name}: farthest skip", {})[level] = farthest.cka
    levels = sorted({level for values in series.values() for level in values})
    figure = new_figure(max(6.0, 0.32 * len(series) * len(levels) + 2), 4.0 + 0.2 * len(series))
    axis = figure.subplots()
    width = 0.8 / len(series)
    colours = {run.name: COLOURS[k % len(COLOURS)] for k, run in enumerate(study.runs)}
    for k, (name, values) in enumerate(series.items()):
        run_name, _, kind = name.rpartition(": ")
        x = [levels.index(level) + (k - (len(series) - 1) / 2) * width for level in values]
        bars = axis.bar(x, list(values.values()), 0.92 * width, color=colours[run_name], label=name)
        if kind == "farthest skip":
            for bar in bars:
                bar.set(alpha=0.45, hatch="///")
        axis.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
    axis.set_xticks(range(len(levels)), [f"level {level}" for level in levels])
    axis.set_ylim(0, 1.05)
    axis.set_ylabel("linear CKA with the up-sampled map U")
    axis.set_title(
        f"Maps joined by the last node of each level, {study.num_images} images of {study.split}", loc="left"
    )
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=1)
    return figure
