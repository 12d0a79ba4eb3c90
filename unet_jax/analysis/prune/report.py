"""Shows the comparison of the levels as text, and writes it as CSV, JSON and a picture."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from etils.epath import Path

from unet_jax.analysis.results import write_results
from unet_jax.plotting.figures import new_figure
from unet_jax.plotting.text_table import format_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIB = 2**20


def text(result: Mapping) -> str:
    """Returns the table, notes that explain its columns, the memory of the nodes, and the choice.

    Args:
      result: from `pruning.prune`.
    """
    height, width = result["image_size"][:2]
    with_paper = any(row["paper_faster"] for row in result["levels"])
    titles = [
        "level",
        "mode",
        "parameters",
        "GFLOP",
        "peak MiB",
        "p50 ms",
        "p95 ms",
        "speedup",
        "IoU pooled",
        "IoU per image",
    ]
    rows = [titles, *map(_cells, result["levels"])]
    note = ""
    if with_paper:
        for row, cell in zip(rows, ["paper", *map(_paper_cell, result["levels"])], strict=True):
            row.insert(8, cell)
        note = " paper: the same, read from figure 3 of DLMIA 2018 (different task and machine)."
    scores = (len(rows[0]) - 2, len(rows[0]) - 1)
    table = format_table(rows, left=(0, 1, *scores), rules=(1,))
    memory, last = result["memory"], result["levels"][-1]["level"]
    return "\n".join(
        [
            "",
            table,
            "",
            f"IoU: mean over {', '.join(result['classes'])}; {result['num_images']} images of {result['split']}; checkpoint "
            f"of step {result['step']}.",
            f"  95 % intervals over n = {_units(result)}: {result['interval']}.",
            f"Speed, work and memory: one image of {height} x {width}, the commonest padded size ("
            f"{result['num_images_of_size']} of {result['num_images']} images, {result['num_images_timed']} of them timed), "
            f"on one device ({result['device']}).",
            "  ms: the forward pass, from an image in the host's memory to probabilities on the device; "
            f"{result['rounds']} rounds, all levels and modes in turn.",
            f"  speedup: p50 of the deepest level in the same mode, divided by this p50.{note}",
            "  GFLOP, peak MiB: of the compiled program, by XLA's count; peak is temporaries + arguments (parameters, image)"
            " + output.",
            f"Memory of nodes: fast at L{last} holds {memory['held_bytes'] / MIB:.2f} MiB of temporaries and output. The maps "
            f"of its {len(memory['nodes'])} nodes are {sum(memory['nodes'].values()) / MIB:.2f} MiB; a program that keeps them "
            f"all to the end holds {memory['keeping_bytes'] / MIB:.2f} MiB.",
            "",
            f"Level {result['level']} is chosen (pooled IoU, {result['mode']}): {result['reason']}.",
        ]
    )


def comparison(result: Mapping) -> str:
    """Returns the line that compares a level trained within the whole network with the same level trained alone.

    Args:
      result: from `pruning.prune` with `retrain`.
    """
    alone = result["retrained"]
    gap, low, high = (alone[f"embedded_minus_alone{end}"] for end in ("", "_low", "_high"))
    return (
        f"level {alone['level']}, {alone['mode']}, pooled IoU on {result['split']}: embedded {_number(alone['iou_pooled'] + gap)}, "
        f"alone {_number(alone['iou_pooled'])}; embedded - alone {gap:+.4f} [{low:+.4f}, {high:+.4f}] "
        f"(95 % interval over n = {_units(result)}: {result['interval']}; one seed each, so it does not cover the "
        "spread of seeds)"
    )


def _units(result: Mapping) -> str:
    """Returns what an interval is over: the images, or their groups where several images are one group."""
    if result["num_groups"] == result["num_images"]:
        return f"{result['num_images']} images"
    return f"{result['num_groups']} groups of {result['num_images']} images"


def write(result: Mapping, out: str | Path) -> list[Path]:
    """Writes `prune.json` (everything), `prune.csv` (a line per level and mode) and `prune.png` into `out`.

    Args:
      result: from `pruning.prune`.
      out: the folder.

    Returns:
      The paths of the files.
    """
    return write_results(out, {"prune.json": result, "prune.csv": result["levels"], "prune.png": _plot(result)})


def _plot(result: Mapping) -> "Figure":
    """Draws IoU over milliseconds with intervals, a line per mode, and a circle around the chosen level."""
    figure = new_figure(10, 4.5)
    titles = {"iou_pooled": "IoU pooled", "iou_image": "IoU per image"}
    # By mode: the colour, and the offset of the label in points.
    styles = {"accurate": ("#0072b2", (-18, 5)), "fast": ("#d55e00", (6, -12))}
    for axis, (name, title) in zip(figure.subplots(1, 2, sharex=True), titles.items(), strict=True):
        for mode, (colour, place) in styles.items():
            rows = [row for row in result["levels"] if row["mode"] == mode and not math.isnan(row[name])]
            x, y = [row["p50_ms"] for row in rows], [row[name] for row in rows]
            below = [row[name] - row[f"{name}_low"] for row in rows]
            above = [row[f"{name}_high"] - row[name] for row in rows]
            axis.errorbar(x, y, yerr=(below, above), marker="o", markersize=4, capsize=3, color=colour, label=mode)
            for row, value in zip(rows, y, strict=True):
                axis.annotate(f"L{row['level']}", (row["p50_ms"], value), xytext=place, textcoords="offset points")
                if (row["level"], mode) == (result["level"], result["mode"]):
                    axis.plot(row["p50_ms"], value, "o", markersize=13, fillstyle="none", color=colour)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("ms per image (p50)")
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, loc="lower right")
    return figure


def _cells(row: Mapping) -> list[str]:
    return [
        f"L{row['level']}",
        row["mode"],
        f"{row['parameters']:,}",
        f"{row['flops'] / 1e9:.3f}",
        f"{row['peak_bytes'] / MIB:.2f}",
        f"{row['p50_ms']:.2f}",
        f"{row['p95_ms']:.2f}",
        f"{row['faster']:.2f}x",
        _score(row, "iou_pooled"),
        _score(row, "iou_image"),
    ]


def _paper_cell(row: Mapping) -> str:
    return f"{row['paper_faster']:.1f}x" if row["paper_faster"] else ""


def _score(row: Mapping, name: str) -> str:
    return f"{_number(row[name])} [{_number(row[f'{name}_low'])}, {_number(row[f'{name}_high'])}]"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
