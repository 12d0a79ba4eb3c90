"""Draws a comparison: the scores of every group with intervals, and the gap by the fraction of training images."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from unet_jax.plotting.figures import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {"iou": "IoU", "dice": "Dice"}
KINDS = {"pooled": "pooled", "image": "per image"}
MARKERS = "os^Dvx"


def fractions(result: Mapping) -> dict[float, int]:
    """Returns the number of training images by the fraction used, smallest fraction first."""
    return dict(sorted((group["train_fraction"], group["num_train"]) for group in result["groups"]))


def scores(result: Mapping) -> "Figure":
    """Draws a panel for each split, in which each group has its mean, its 95 % interval, and a hollow point per seed."""
    groups, splits = result["groups"], result["splits"]
    names = [textwrap.fill(group["name"], 28, break_long_words=False) for group in groups]
    figure = new_figure(2.2 + 4.2 * len(splits), 1.5 + 0.6 * len(groups))
    for axis, split in zip(figure.subplots(1, len(splits), sharey=True, squeeze=False).flat, splits, strict=True):
        for kind, colour, shift in zip(KINDS, COLOURS[:2], (-0.15, 0.15), strict=True):
            for place, group in enumerate(groups):
                estimate = group["scores"][split][kind]
                seeds = estimate["by_seed"]
                y, label = place + shift, None if place else f"{KINDS[kind]}, mean"
                interval = [estimate["low"], estimate["high"]]
                axis.plot(interval, [y, y], color=colour, linewidth=1.5, solid_capstyle="butt")
                axis.plot(seeds, [y] * len(seeds), "o", markersize=6, fillstyle="none", color=colour)
                axis.plot(estimate["mean"], y, "|", markersize=13, markeredgewidth=2, color=colour, label=label)
        axis.set_title(f"{TITLES[result['metric']]} on {split}", loc="left", fontsize=10)
        axis.set_yticks(range(len(groups)), names)
        # From top to bottom, as in the table.
        axis.set_ylim(len(groups) - 0.5, -0.5)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axis.get_legend_handles_labels()
    title = "lines: 95 % intervals over seeds and images; circles: seeds"
    figure.legend(
        handles,
        labels,
        title=title,
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=9,
        title_fontsize=9,
    )
    return figure


def gap(result: Mapping) -> "Figure":
    """Draws the pooled score on train minus that on val by the fraction of training images, a line for each network.

    Bars show one standard deviation over seeds, points show the seeds. At each fraction the networks stand side by side.
    """
    by_name = {group["name"]: group for group in result["groups"]}
    num_train = fractions(result)
    figure = new_figure(6.5, 4.2)
    axis = figure.subplots()
    step = 0.012 * (max(num_train) - min(num_train))
    for place, (name, members) in enumerate(result["networks"].items()):
        shift = step * (place - (len(result["networks"]) - 1) / 2)
        gaps = [by_name[group]["gap"]["pooled"] for group in members]
        x = [by_name[group]["train_fraction"] + shift for group in members]
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        means, deviations = ([estimate[key] for estimate in gaps] for key in ("mean", "std"))
        axis.errorbar(x, means, yerr=deviations, capsize=3, markersize=5, label=name, color=colour, marker=marker)
        for at, estimate in zip(x, gaps, strict=True):
            seeds = estimate["by_seed"]
            axis.plot([at] * len(seeds), seeds, linestyle="", alpha=0.35, markersize=4, color=colour, marker=marker)
    axis.axhline(0, color="#7f7f7f", linewidth=0.8)
    axis.set_xticks(list(num_train), [f"{100 * fraction:g} %\n{number}" for fraction, number in num_train.items()])
    axis.set_xlabel("fraction and number of training images")
    title = TITLES[result["metric"]]
    axis.set_title(f"gap: pooled {title} on train - on val, ± standard deviation over seeds", loc="left", fontsize=10)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure
