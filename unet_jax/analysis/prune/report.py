"""The comparison of the levels as text, as CSV and JSON, and as a picture."""

import csv
import math
from collections.abc import Mapping

from etils.epath import Path

from unet_jax.plotting import drawing
from unet_jax.storage import json_file
from unet_jax.storage.write_errors import report_write_errors

MIB = 2**20


def text(result: Mapping) -> str:
    """The table, what its columns say, the memory of the nodes, and the choice; `result` as of `pruning.prune`."""
    height, width = result["image_size"][:2]
    paper = any(row["paper_faster"] for row in result["levels"])
    lines = [
        "level  mode      parameters    GFLOP  peak MiB   p50 ms   p95 ms  faster"
        + "  paper" * paper
        + "  IoU pooled              IoU per image"
    ]
    lines.append("-" * len(lines[0]))
    for row in result["levels"]:
        cells = [
            f"L{row['level']}".ljust(5),
            row["mode"].ljust(8),
            f"{row['parameters']:,}".rjust(11),
            f"{row['flops'] / 1e9:.3f}".rjust(7),
            f"{row['peak_bytes'] / MIB:.2f}".rjust(8),
            f"{row['p50_ms']:.2f}".rjust(7),
            f"{row['p95_ms']:.2f}".rjust(7),
            f"{row['faster']:.2f}x".rjust(6),
        ]
        if paper:
            cells.append((f"{row['paper_faster']:.1f}x" if row["paper_faster"] else "").rjust(5))
        lines.append("  ".join([*cells, _score(row, "iou_pooled"), _score(row, "iou_image")]))
    memory, last = result["memory"], result["levels"][-1]["level"]
    return "\n".join(
        [
            "",
            *lines,
            "",
            f"IoU: mean over {', '.join(result['classes'])} of {result['num_images']} images of {result['split']}, checkpoint "
            f"of step {result['step']}, with 95 % intervals over images ({result['resamples']:,} bootstrap samples).",
            f"Speed, work and memory: one image of {height} x {width}, the commonest padded size ("
            f"{result['num_images_of_size']} of {result['num_images']} images, {result['num_images_timed']} of them timed), "
            f"on one device ({result['device']}).",
            "  ms: the forward pass, from an image in the host's memory to probabilities on the device; "
            f"{result['rounds']} turns, all levels and modes in turn.",
            "  faster: than the deepest level in the same mode, by p50."
            + " paper: the same, read off figure 3 of DLMIA 2018, another task and machine." * paper,
            "  GFLOP, peak MiB: of the compiled program, by XLA's count; peak is temporaries + arguments (parameters, image)"
            " + output.",
            f"Memory of nodes: fast at L{last} holds {memory['held_bytes'] / MIB:.2f} MiB, temporaries and output; made to keep "
            f"all its {len(memory['nodes'])} nodes to the end, whose maps are {sum(memory['nodes'].values()) / MIB:.2f} MiB "
            f"together, it holds {memory['keeping_bytes'] / MIB:.2f} MiB.",
            "",
            f"Level {result['level']} is chosen (pooled IoU, {result['mode']}): {result['reason']}.",
        ]
    )


def comparison(result: Mapping) -> str:
    """The one line that tells embedded from alone training."""
    alone = result["retrained"]
    gap, low, high = (alone[f"embedded_minus_alone{end}"] for end in ("", "_low", "_high"))
    return (
        f"level {alone['level']}, {alone['mode']}, pooled IoU on {result['split']}: embedded {_cell(alone['iou_pooled'] + gap)}, "
        f"alone {_cell(alone['iou_pooled'])}; embedded - alone {gap:+.4f} [{low:+.4f}, {high:+.4f}] "
        "(95 % over images; one seed each, and seeds differ, too)"
    )


def write(result: Mapping, out: str | Path) -> list[Path]:
    """Writes `prune.json` (all of it), `prune.csv` (a line per level and mode) and `prune.png` into `out`."""
    out = Path(out)
    rows = json_file.plain(result["levels"])
    paths = [out / f"prune.{ending}" for ending in ("json", "csv", "png")]
    with report_write_errors():
        json_file.write(paths[0], json_file.plain(result), indent=1)
        with paths[1].open("w") as file:
            table = csv.DictWriter(file, fieldnames=list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        drawing.save_figure(_plot(result), paths[2])
    return paths


def _plot(result: Mapping):
    """IoU, pooled and per image, against milliseconds, with intervals; a line per mode, the chosen level ringed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second that --help need not wait for
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no window
    titles = {"iou_pooled": "IoU pooled", "iou_image": "IoU per image"}
    styles = {"accurate": ("#0072b2", (-18, 5)), "fast": ("#d55e00", (6, -12))}  # colour, where the label stands
    for axis, (name, title) in zip(figure.subplots(1, 2, sharex=True), titles.items(), strict=True):
        for mode, (colour, place) in styles.items():
            rows = [row for row in result["levels"] if row["mode"] == mode and not math.isnan(row[name])]
            x, y = [row["p50_ms"] for row in rows], [row[name] for row in rows]
            # A percentile interval may leave its own estimate out, where few images make it lopsided.
            below = [max(row[name] - row[f"{name}_low"], 0) for row in rows]
            above = [max(row[f"{name}_high"] - row[name], 0) for row in rows]
            axis.errorbar(x, y, yerr=(below, above), marker="o", markersize=4, capsize=3, color=colour, label=mode)
            for row, value in zip(rows, y, strict=True):
                axis.annotate(f"L{row['level']}", (row["p50_ms"], value), xytext=place, textcoords="offset points")
                if (row["level"], mode) == (result["level"], result["mode"]):
                    axis.plot(row["p50_ms"], value, "o", markersize=13, fillstyle="none", color=colour)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("ms an image (p50)")
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, loc="lower right")
    return figure


def _score(row: Mapping, name: str) -> str:
    return f"{_cell(row[name])} [{_cell(row[f'{name}_low'])}, {_cell(row[f'{name}_high'])}]".ljust(22)


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
