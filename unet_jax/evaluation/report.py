"""What an evaluation leaves behind: a table, a JSON file, pictures, and the curves of a run."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from etils.epath import Path

from unet_jax import drawing, json_file
from unet_jax.errors import writing
from unet_jax.evaluation import metrics, overlay
from unet_jax.evaluation.folder import MaskFolder, file_name
from unet_jax.inference.predict import resolve_keep

COLUMNS = {
    "iou_pooled": "IoU pooled",
    "dice_pooled": "Dice pooled",
    "iou_image": "IoU per image",
    "dice_image": "Dice per image",
}
RANKS = ("best", "median", "worst")  # the images that `save_ranked` shows


def table(summary: Mapping[str, float], class_names: Sequence[str], keep: Sequence[str] = ()) -> str:
    """The summary of `evaluate` as text: IoU and Dice of each class, pooled and per image, and their mean over `keep`."""
    keep = resolve_keep(class_names, keep)
    mean = f"mean of {', '.join(keep)}" if len(keep) < 4 else f"mean of {len(keep)} classes"
    rows = [(name, name) for name in class_names] + [(mean, "mean")]
    first = max(len(label) for label, _ in rows)
    lines = ["  ".join([" " * first, *COLUMNS.values()])]
    for label, name in rows:
        cells = [_cell(summary[f"{column}/{name}"], len(title)) for column, title in COLUMNS.items()]
        lines.append("  ".join([label.ljust(first), *cells]))
    rule = "-" * len(lines[0])
    tail = f"pixel accuracy {_cell(summary['pixel_accuracy'])}"
    if "num_images" in summary:
        tail += f"   {summary['num_images']} images, {summary['images_per_s']:.1f} images/s, "
        tail += f"{summary['num_compiles']} compiled sizes"
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], tail])


def _cell(value: float, width: int = 0) -> str:
    return ("-" if math.isnan(value) else f"{value:.4f}").rjust(width)


def write_json(path: str | Path, summary: Mapping, rows: Sequence[Mapping], **about) -> None:
    """Writes `about` (split, checkpoint step, mode, level, ...), the summary and the rows; NaN and Inf become null."""
    path = Path(path).expanduser()
    content = json_file.plain({**about, "summary": dict(summary), "images": [dict(row) for row in rows]})
    with writing():
        json_file.write(path, content, indent=1)


def save_overlays(
    masks: MaskFolder,
    source,
    out_dir: str | Path,
    *,
    limit: int = 16,
    progress: Callable[[int], None] = lambda num_images: None,
) -> list[Path]:
    """Writes image | truth | prediction | errors for `limit` examples spread evenly over the source (0: all).

    The predictions are those that lie in `masks`. The files are `<id>.png` in `out_dir`; those of the same name are
    replaced, as they show the same example. The caption gives the example's IoU of each class to keep. Raises UserError
    where the folder cannot be written.
    """
    num = len(source) if limit == 0 else min(limit, len(source))
    indices = np.unique(np.linspace(0, len(source) - 1, num).round().astype(int)).tolist() if num else []
    return _save_panels(masks, source, indices, out_dir, progress=progress)


def save_ranked(masks: MaskFolder, source, rows: Sequence[Mapping], out_dir: str | Path) -> list[Path]:
    """Writes `best.png`, `median.png` and `worst.png` into `out_dir`, as `save_overlays` draws them.

    They rank by `iou/mean` of the rows of `evaluate`, the mean over the classes to keep; images where none of these is
    present are left out, and of an even number the lower median is taken. Where no image is left, nothing is written.
    """
    ranked = sorted((row for row in rows if not math.isnan(row["iou/mean"])), key=lambda row: -row["iou/mean"])
    if not ranked:
        return []
    indices = [ranked[place]["index"] for place in (0, len(ranked) // 2, -1)]
    return _save_panels(masks, source, indices, out_dir, names=RANKS)


def _save_panels(masks, source, indices, out_dir, names=(), progress=lambda num_images: None):
    """Draws the examples at `indices`; the files bear `names`, or the examples' ids."""
    out_dir = Path(out_dir).expanduser()
    with writing():
        out_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for index in indices:
        example = source[index]
        name = file_name(example["id"])
        written.append(out_dir / f"{names[len(written)] if names else name}.png")
        with writing():
            drawing.save(_panels(masks, example, masks.read(name)), written[-1])
        progress(1)
    return written


def _panels(folder: MaskFolder, example, masks: np.ndarray) -> np.ndarray:
    truth, valid = true_masks(example["mask"], len(folder.class_names))
    truth, inside = truth[..., folder.kept], valid[..., None]
    sums = {
        "tp": (masks & truth & inside).sum((0, 1)),
        "fp": (masks & ~truth & inside).sum((0, 1)),
        "fn": (~masks & truth & inside).sum((0, 1)),
    }
    scores = zip(folder.keep, metrics.ratios(sums)["iou"], strict=True)
    caption = f"{example['id']}   IoU " + ", ".join(f"{name} {_cell(iou)}" for name, iou in scores)
    return overlay.panels(example["image"], truth, masks, valid, folder.keep, folder.colours, caption)


def true_masks(mask: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(bool [H, W, K], valid [H, W]) of an example's ids [H, W] or 0/1 masks [H, W, K]; 255 is void."""
    truth = np.asarray(metrics.truth_masks(np.asarray(mask, np.int32)[None], num_classes))[0]
    void = mask == metrics.VOID
    return truth, ~(void.any(-1) if mask.ndim == 3 else void)


def curves(rows: Iterable[Mapping], out_png: str | Path, metric: str = "iou_pooled/mean") -> Path:
    """Plots loss, mean IoU and learning rate against the step, from the rows of a run's metrics.jsonl.

    A row is {"step": 10, "split": "train", "loss": ..., ...}; of two of one step and split the later counts.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second that prediction need not wait for
    from matplotlib.figure import Figure

    series = _series(rows)
    figure = Figure(figsize=(7, 8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no window
    panels = {"loss": "loss", metric: f"mean IoU ({metric})" if metric == "iou_pooled/mean" else metric}
    panels["learning_rate"] = "learning rate"
    colours = {"train": "#7f7f7f", "val": "#d55e00", "test": "#0072b2"}
    axes = figure.subplots(len(panels), sharex=True)
    for axis, (key, title) in zip(axes, panels.items(), strict=True):
        low, high = math.inf, -math.inf
        for split, rows in series.items():
            points = [(step, row[key]) for step, row in sorted(rows.items()) if _is_number(row.get(key))]
            if points:
                style = (
                    {"marker": "o", "markersize": 4 if split != "train" else 0} if len(points) > 1 else {"marker": "o"}
                )
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
    out_png = Path(out_png).expanduser()
    with writing():
        drawing.save_figure(figure, out_png)
    return out_png


def _is_number(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _series(rows: Iterable[Mapping]) -> dict[str, dict[int, dict]]:
    """Rows by split and step; what one row of a step lacks, an earlier one may give."""
    series: dict[str, dict[int, dict]] = {}
    for row in rows:
        series.setdefault(row["split"], {}).setdefault(row["step"], {}).update(row)
    return series
