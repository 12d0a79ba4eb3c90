"""The pictures of a comparison: every group's scores with their intervals, and the gap against the share of train."""

import textwrap
from collections.abc import Mapping

TITLES = {"iou": "IoU", "dice": "Dice"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by colour-blind eyes
KINDS = {"pooled": "pooled", "image": "per image"}
MARKERS = "os^Dvx"


def shares(result: Mapping) -> dict[float, int]:
    """The shares of the training images that the groups have, smallest first, and of each their number."""
    return dict(sorted((group["train_fraction"], group["num_train"]) for group in result["groups"]))


def scores(result: Mapping):
    """A panel for each split, a line for each group: the mean, its 95 % interval, and every seed as a hollow point."""
    groups, splits = result["groups"], result["splits"]
    names = [textwrap.fill(group["name"], 28, break_long_words=False) for group in groups]
    figure = _figure((2.2 + 4.2 * len(splits), 1.5 + 0.6 * len(groups)))
    for axis, split in zip(figure.subplots(1, len(splits), sharey=True, squeeze=False).flat, splits, strict=True):
        for kind, colour, shift in zip(KINDS, COLOURS[:2], (-0.15, 0.15), strict=True):
            for place, group in enumerate(groups):
                told = group["scores"][split][kind]
                y, label = place + shift, None if place else f"{KINDS[kind]}, mean"
                axis.plot([told["low"], told["high"]], [y, y], color=colour, linewidth=1.5, solid_capstyle="butt")
                axis.plot(
                    told["by_seed"], [y] * len(told["by_seed"]), "o", markersize=6, fillstyle="none", color=colour
                )
                axis.plot(told["mean"], y, "|", markersize=13, markeredgewidth=2, color=colour, label=label)
        axis.set_title(f"{TITLES[result['metric']]} on {split}", loc="left", fontsize=10)
        axis.set_yticks(range(len(groups)), names)
        axis.set_ylim(len(groups) - 0.5, -0.5)  # in the order of the table
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axis.get_legend_handles_labels()
    title = "lines: 95 % over seeds and images; circles: seeds"
    where = {"loc": "outside lower center", "ncols": 2, "frameon": False}
    figure.legend(handles, labels, title=title, fontsize=9, title_fontsize=9, **where)
    return figure


def gap(result: Mapping):
    """The pooled score on train less that on val against the share of the training images, a line for each network.

    Bars are one standard deviation over seeds, points the seeds; networks stand side by side at each share.
    """
    by_name = {group["name"]: group for group in result["groups"]}
    there = shares(result)
    figure = _figure((6.5, 4.2))
    axis = figure.subplots()
    step = 0.012 * (max(there) - min(there))
    for place, (name, own) in enumerate(result["networks"].items()):
        shift = step * (place - (len(result["networks"]) - 1) / 2)
        told = [by_name[group]["gap"]["pooled"] for group in own]
        x = [by_name[group]["train_fraction"] + shift for group in own]
        style = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        axis.errorbar(
            x,
            [one["mean"] for one in told],
            yerr=[one["std"] for one in told],
            capsize=3,
            markersize=5,
            label=name,
            **style,
        )
        for at, one in zip(x, told, strict=True):
            seeds = one["by_seed"]
            axis.plot([at] * len(seeds), seeds, linestyle="", alpha=0.35, markersize=4, **style)
    axis.axhline(0, color="#7f7f7f", linewidth=0.8)
    axis.set_xticks(list(there), [f"{100 * share:g} %\n{number}" for share, number in there.items()])
    axis.set_xlabel("share and number of training images")
    title = TITLES[result["metric"]]
    axis.set_title(f"gap: pooled {title} on train - on val, ± standard deviation over seeds", loc="left", fontsize=10)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure


def _figure(size: tuple[float, float]):
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second that --help need not wait for
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no window
    return figure
