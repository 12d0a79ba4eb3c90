"""Training curves: WORKDIR/curves.png, drawn while the run trains."""

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from etils.epath import Path

from unet_jax.plotting import figures
from unet_jax.runtime import processes
from unet_jax.storage.paths import PathLike, to_path
from unet_jax.storage.write_errors import report_write_errors
from unet_jax.tracking.metrics_file import read_metrics

# Seconds between two drawings. The curves are also drawn at evaluations and at the end.
EVERY_S = 60
# Where the panels lie in the figure. To have Matplotlib find the margins would double the time of a drawing.
MARGINS = {"left": 0.12, "right": 0.97, "bottom": 0.06, "top": 0.96, "hspace": 0.2}


class Curves:
    """Draws the curves of a run from its metrics.jsonl, on process 0.

    Args:
      workdir: the run's folder.
    """

    def __init__(self, workdir: Path):
        self._workdir, self._drawn, self._num_rows = workdir, time.monotonic(), 0

    def draw_if_due(self) -> None:
        """Draws the curves if the last drawing is more than `EVERY_S` seconds ago."""
        if time.monotonic() - self._drawn > EVERY_S:
            self.draw()

    def draw(self) -> None:
        """Draws the curves; does nothing if the run has no row yet, or none that is new."""
        rows = read_metrics(self._workdir / "metrics.jsonl")
        if len(rows) > self._num_rows and processes.process_index() == 0:
            draw_curves(rows, self._workdir / "curves.png")
        self._drawn, self._num_rows = time.monotonic(), len(rows)


def draw_curves(rows: Iterable[Mapping[str, Any]], out_png: PathLike, metric: str = "iou_pooled/mean") -> Path:
    """Plots loss, mean IoU and learning rate against the step.

    Args:
      rows: the rows of a run's metrics.jsonl, such as `{"step": 10, "split": "train", "loss": 0.3}`. If two rows have the
        same step and split, the later one counts.
      out_png: the file to write.
      metric: the score to plot.

    Returns:
      The path of the file.

    Raises:
      UserError: the file cannot be written.
    """
    series = _series(rows)
    figure = figures.new_figure(7, 8)
    figure.set_layout_engine("none")
    panels = {"loss": "loss", metric: f"mean IoU ({metric})" if metric == "iou_pooled/mean" else metric}
    panels["learning_rate"] = "learning rate"
    colours = {"train": "#7f7f7f", "val": "#d55e00", "test": "#0072b2"}
    axes = figure.subplots(len(panels), sharex=True, gridspec_kw=MARGINS)
    for axis, (key, title) in zip(axes, panels.items(), strict=True):
        low, high = math.inf, -math.inf
        for split, by_step in series.items():
            points = [(step, row[key]) for step, row in sorted(by_step.items()) if _is_number(row.get(key))]
            if points:
                style: dict[str, Any] = {"marker": "o"}
                if len(points) > 1:
                    style["markersize"] = 4 if split != "train" else 0
                axis.plot(*zip(*points, strict=True), label=split, color=colours.get(split), linewidth=1.5, **style)
                low, high = min(low, *(v for _, v in points)), max(high, *(v for _, v in points))
        axis.set_title(title, loc="left", fontsize=10)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if key == "loss" and 0 < low < high / 20:
            axis.set_yscale("log")
        if key == metric:
            axis.set_ylim(0, 1)
        if key != "learning_rate" and low <= high:
            axis.legend(frameon=False)
    axes[-1].set_xlabel("step")
    out_png = to_path(out_png)
    with report_write_errors():
        figures.save_figure(figure, out_png)
    return out_png


def _series(rows: Iterable[Mapping]) -> dict[str, dict[int, dict]]:
    """Returns the rows by split and step. The rows of one step are merged; a later value replaces an earlier one."""
    series: dict[str, dict[int, dict]] = {}
    for row in rows:
        series.setdefault(row["split"], {}).setdefault(row["step"], {}).update(row)
    return series


def _is_number(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
