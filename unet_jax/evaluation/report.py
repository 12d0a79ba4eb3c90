"""What an evaluation leaves behind: a table, a JSON file, pictures, and the curves of a run."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from etils.epath import Path

from unet_jax.evaluation import metrics
from unet_jax.inference.folder import MaskFolder, file_name
from unet_jax.plotting import drawing, panels
from unet_jax.segmentation import resolve_report_classes, true_masks
from unet_jax.storage import json_file
from unet_jax.storage.write_errors import report_write_errors

COLUMNS = {
    "iou_pooled": "IoU pooled",
    "dice_pooled": "Dice pooled",
    "iou_image": "IoU per image",
    "dice_image": "Dice per image",
}
RANKS = ("best", "median", "worst")  # the images that `save_ranked` shows


def table(summary: Mapping[str, float], class_names: Sequence[str], report_classes: Sequence[str] = ()) -> str:
    """The summary of `evaluate` as text: IoU and Dice of each class, pooled and per image, and their mean over `report_classes`."""
    report_classes = resolve_report_classes(class_names, report_classes)
    mean = (
        f"mean of {', '.join(report_classes)}" if len(report_classes) < 4 else f"mean of {len(report_classes)} classes"
    )
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
    with report_write_errors():
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
    replaced, as they show the same example. The caption gives the example's IoU of each reported class. Raises UserError
    where the folder cannot be written.
    """
    num = len(source) if limit == 0 else min(limit, len(source))
    indices = np.unique(np.linspace(0, len(source) - 1, num).round().astype(int)).tolist() if num else []
    return _save_panels(masks, source, indices, out_dir, progress=progress)


def save_ranked(masks: MaskFolder, source, rows: Sequence[Mapping], out_dir: str | Path) -> list[Path]:
    """Writes `best.png`, `median.png` and `worst.png` into `out_dir`, as `save_overlays` draws them.

    They rank by `iou/mean` of the rows of `evaluate`, the mean over the reported classes; images where none of these is
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
    with report_write_errors():
        out_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for index in indices:
        example = source[index]
        name = file_name(example["id"])
        written.append(out_dir / f"{names[len(written)] if names else name}.png")
        with report_write_errors():
            drawing.save(_panels(masks, example, masks.read(name)), written[-1])
        progress(1)
    return written


def _panels(folder: MaskFolder, example, masks: np.ndarray) -> np.ndarray:
    truth, valid = true_masks(example["mask"], len(folder.class_names))
    truth, inside = truth[..., folder.report_channels], valid[..., None]
    sums = {
        "tp": (masks & truth & inside).sum((0, 1)),
        "fp": (masks & ~truth & inside).sum((0, 1)),
        "fn": (~masks & truth & inside).sum((0, 1)),
    }
    scores = zip(folder.report_classes, metrics.ratios(sums)["iou"], strict=True)
    caption = f"{example['id']}   IoU " + ", ".join(f"{name} {_cell(iou)}" for name, iou in scores)
    return panels.panels(example["image"], truth, masks, valid, folder.report_classes, folder.colours, caption)
