"""Results of an evaluation: a table, a JSON file and pictures."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.data.dataset import ExampleSource
from unet_jax.evaluation import metrics
from unet_jax.evaluation.choice import MetricChoice
from unet_jax.inference.outputs import MaskFolder, file_name, remove_others
from unet_jax.plotting import drawing, index_page, panels
from unet_jax.plotting.text_table import format_table
from unet_jax.segmentation import resolve_report_classes, true_masks
from unet_jax.storage import json_file
from unet_jax.storage.paths import to_path, write_whole
from unet_jax.storage.write_errors import report_write_errors

COLUMNS = {
    "iou_pooled": "IoU pooled",
    "dice_pooled": "Dice pooled",
    "iou_image": "IoU per image",
    "dice_image": "Dice per image",
}
OBJECT_COLUMNS = {
    "ap_pooled": "AP 0.5-0.95",
    "ap50_pooled": "AP 0.5",
    "f1_pooled": "F1",
    "pq_pooled": "PQ",
    "sq_pooled": "SQ",
    "seg_pooled": "SEG",
    "aji_pooled": "AJI",
    "num_true": "true",
    "num_predicted": "predicted",
}


def table(summary: Mapping[str, Any], class_names: Sequence[str], report_classes: Sequence[str] = ()) -> str:
    """Returns a summary as text: IoU and Dice of each class, pooled and per image, and their means.

    Args:
      summary: the summary of `evaluate`.
      class_names: the classes, which are the rows of the table.
      report_classes: the classes that the means are taken over; () for the default of `resolve_report_classes`.
    """
    report_classes = resolve_report_classes(class_names, report_classes)
    mean = (
        f"mean of {', '.join(report_classes)}" if len(report_classes) < 4 else f"mean of {len(report_classes)} classes"
    )
    names = {name: name for name in class_names} | {mean: "mean"}
    rows = [("", *COLUMNS.values())]
    rows += [(label, *(_cell(summary[f"{column}/{name}"]) for column in COLUMNS)) for label, name in names.items()]
    tail = f"pixel accuracy {_cell(summary['pixel_accuracy'])}"
    if "num_images" in summary:
        tail += f"   {summary['num_images']} images, {summary['images_per_s']:.1f} images/s, "
        tail += f"sizes compiled: {summary['num_compiles']}"
    return f"{format_table(rows, rules=(1, len(rows) - 1))}\n{tail}"


def group_tables(summary: Mapping[str, Any], class_names: Sequence[str], choice: MetricChoice) -> list[str]:
    """Returns a summary's further scores as texts: a table of objects, one of contours, and the calibration.

    Args:
      summary: the summary of `evaluate`.
      class_names: the classes.
      choice: what was scored.
    """
    unit, texts = choice.unit, []
    contour_columns = {
        "boundary_iou_image": "boundary IoU",
        "nsd_image": f"NSD at {choice.tolerance:g} {unit}",
        "hd95_image": f"HD95 [{unit}]",
        "assd_image": f"ASSD [{unit}]",
        "cldice_image": "clDice",
        "num_infinite": "one side empty",
    }
    groups = {
        "instances": ("objects at IoU 0.5 (pooled)", OBJECT_COLUMNS),
        "boundary": ("contours (mean per image)", contour_columns),
    }
    for name, (title, columns) in groups.items():
        first = next(iter(columns))
        shown = [each for each in (*class_names, "mean") if f"{first}/{each}" in summary]
        if name in choice.names and shown:
            cells = [
                (each, *(_number(summary.get(f"{column}/{each}", math.nan)) for column in columns)) for each in shown
            ]
            texts.append(format_table([(title, *columns.values()), *cells], rules=(1, len(cells))))
    if "calibration" in choice.names:
        texts.append(
            "calibration  " + "   ".join(f"{name} {_cell(summary[name.lower()])}" for name in ("ECE", "Brier", "NLL"))
        )
    return texts


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else _cell(value)


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def write_csv(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows of `evaluate` as CSV, with a column for each score; NaN and infinities are empty.

    Args:
      path: the file.
      rows: the rows of `evaluate`, at least one.

    Raises:
      UserError: the file cannot be written.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(json_file.plain([dict(row) for row in rows]))
    with report_write_errors():
        write_whole(to_path(path), text.getvalue().encode())


def write_json(
    path: str | os.PathLike, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], **about: Any
) -> None:
    """Writes the summary and the rows of `evaluate` as JSON; NaN and infinities become null.

    Args:
      path: the file.
      summary: the summary of `evaluate`.
      rows: the rows of `evaluate`.
      **about: what was scored: split, checkpoint step, mode, level, ...

    Raises:
      UserError: the file cannot be written.
    """
    content = json_file.plain({**about, "summary": dict(summary), "images": [dict(row) for row in rows]})
    with report_write_errors():
        json_file.write(to_path(path), content, indent=1)


def save_pictures(
    masks: MaskFolder,
    source: ExampleSource,
    rows: Sequence[Mapping[str, Any]],
    out_dir: str | os.PathLike,
    *,
    limit: int = 16,
) -> list[Path]:
    """Writes pictures of an evaluation: image | truth | prediction | errors.

    `overlays/<id>.png` are `limit` examples spread evenly over the source. `best.png`, `median.png` and `worst.png` are
    chosen by `iou/mean`; see `ranked_indices`. Files of the same name are replaced, and other overlays removed. The caption gives the IoU of each
    reported class. An example that is drawn for several files is read and drawn once. No example is predicted again.
    `index.html` shows the examples that were drawn, the lowest IoU first.

    Args:
      masks: the predictions, written by `MaskFolder.write`.
      source: the examples.
      rows: the rows of `evaluate`, one per example, in the order of `source`.
      out_dir: the folder.
      limit: the number of overlays; 0 for all.

    Returns:
      The paths of the files.

    Raises:
      UserError: a file cannot be written.
    """
    folder = to_path(out_dir)
    files: dict[int, list[Path]] = {}
    for index in spread_indices(len(source), limit):
        files.setdefault(index, []).append(folder / "overlays" / f"{file_name(rows[index]['id'])}.png")
    for rank, index in ranked_indices(rows).items():
        files.setdefault(index, []).append(folder / f"{rank}.png")
    with report_write_errors():
        remove_others(
            folder / "overlays", {path.name.removesuffix(".png") for paths in files.values() for path in paths}
        )
    for index, paths in files.items():
        example = source[index]
        panels_of_example = _panels(masks, example, masks.read(file_name(rows[index]["id"])))
        with report_write_errors():
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                drawing.save_png(panels_of_example, path)
    pictures = [
        index_page.Picture(str(paths[0].relative_to(folder)), str(rows[index]["id"]), _scores_of(masks, rows[index]))
        for index, paths in files.items()
    ]
    if pictures:
        title = f"{folder.name}: image, truth, prediction, errors; lowest IoU first"
        index_page.write_index_page(folder, title, index_page.worst_first(pictures, "mean IoU"), by="unet-jax eval")
    return [path for paths in files.values() for path in paths]


def _scores_of(masks: MaskFolder, row: Mapping[str, Any]) -> dict[str, float]:
    return {"mean IoU": row["iou/mean"], **{name: row.get(f"iou/{name}", math.nan) for name in masks.report_classes}}


def spread_indices(num: int, limit: int) -> list[int]:
    """Returns `limit` of the numbers from 0 to `num` - 1, spread evenly; all of them if `limit` is 0 or not below `num`.

    >>> spread_indices(10, 3)
    [0, 4, 9]
    """
    count = num if limit == 0 else min(limit, num)
    return np.unique(np.linspace(0, num - 1, count).round().astype(int)).tolist() if count else []


def ranked_indices(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Returns the indices of the best, the median and the worst image by `iou/mean`.

    Args:
      rows: the rows of `evaluate`. Images without any reported class are left out.

    Returns:
      Indices by `best`, `median` and `worst`; {} where no image is left. The median of an even number is the lower one of
      the two in the middle.
    """
    ranked = sorted((row for row in rows if not math.isnan(row["iou/mean"])), key=lambda row: -row["iou/mean"])
    if not ranked:
        return {}
    return {"best": ranked[0]["index"], "median": ranked[len(ranked) // 2]["index"], "worst": ranked[-1]["index"]}


def _panels(folder: MaskFolder, example: Mapping[str, Any], masks: np.ndarray) -> np.ndarray:
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
