"""The uncertainty of predictions as files: a map for each image, and a table that has the least certain images first.

`uncertainty/NAME.tif` is 16-bit: the predictive entropy of each pixel, 0 where the prediction is certain, 65535 where every class
is as probable as any other. Its ImageDescription holds the measures of the image, so that the table can be written from the
maps, by whichever call is the last.
"""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tifffile
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.inference.uncertainty import MEASURES
from unet_jax.inference.writers.band_writers import TiffBands
from unet_jax.storage.paths import write_whole
from unet_jax.storage.write_errors import report_write_errors

MAPS, TABLE = "uncertainty", "uncertainty.csv"


def create_map(path: Path, size: Sequence[int], measures: Mapping[str, float]) -> TiffBands:
    """Returns a writer of the map of an image, uint16 `[H, W]`.

    Args:
      path: the file.
      size: height and width of the image.
      measures: `MEASURES` of the image.
    """
    writer = TiffBands(path, size[:2], np.uint16)
    writer.description = json.dumps({name: None if math.isnan(value) else value for name, value in measures.items()})
    return writer


def read_measures(path: Path) -> dict[str, float]:
    """Returns `MEASURES` of the image of a map; NaN where one is not known.

    Raises:
      UserError: the map is damaged, or another program made it.
    """
    try:
        with tifffile.TiffFile(os.fspath(path)) as file:
            values = json.loads(file.pages.first.description)
        return {name: float("nan") if values[name] is None else float(values[name]) for name in MEASURES}
    except (OSError, KeyError, TypeError, ValueError, tifffile.TiffFileError) as error:
        raise UserError(f"{path}: is no map of the uncertainty, or damaged; remove it, and predict again") from error


def write_table(out_dir: Path, names: Iterable[str]) -> None:
    """Writes `uncertainty.csv`: images and their `MEASURES`, the least certain image first.

    Args:
      out_dir: the folder of the results.
      names: of the images, whose maps are in `uncertainty/`.

    Raises:
      UserError: a map is damaged, or the file cannot be written.
    """
    rows = [{"name": name, **read_measures(out_dir / MAPS / f"{name}.tif")} for name in names]
    text = io.StringIO()
    table = csv.DictWriter(text, ["name", *MEASURES], lineterminator="\n")
    table.writeheader()
    for row in sorted(rows, key=least_certain_first):
        table.writerow({key: "" if value != value else value for key, value in row.items()})
    with report_write_errors():
        write_whole(out_dir / TABLE, text.getvalue().encode())


def least_certain_first(row: Mapping[str, Any]) -> tuple:
    """Returns a key that sorts rows of `MEASURES`: the lowest pairwise Dice first, then the largest entropy.

    Without a Dice a row comes after those that have one.

    >>> rows = [{"pairwise_dice": dice, "entropy": entropy} for dice, entropy in ((0.9, 0.1), (float("nan"), 0.3), (0.2, 0.0))]
    >>> [row["entropy"] for row in sorted(rows, key=least_certain_first)]
    [0.0, 0.1, 0.3]
    """
    dice = row["pairwise_dice"]
    return math.isnan(dice), 0.0 if math.isnan(dice) else dice, -row["entropy"], row.get("name", "")
