"""Tables of objects and of images as CSV: in pixels, and in a unit of length where the size of a pixel is known.

`objects.csv` has a row for each object, `images.csv` one for each image. Numbers are written so that they are read back as the
same numbers.
"""

import csv
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from etils.epath import Path

from unet_jax.inference.result_folder import ResultFolder
from unet_jax.measurement.pixel_size import PixelSize
from unet_jax.measurement.regions import Columns

# Columns that are lengths or areas, with their power of the size of a pixel.
POWERS = {
    "area": 2,
    "centroid-0": 1,
    "centroid-1": 1,
    "equivalent_diameter_area": 1,
    "axis_major_length": 1,
    "axis_minor_length": 1,
    "perimeter": 1,
    "area_convex": 2,
}

Row = dict[str, str | int | float]


def in_units(columns: Mapping[str, np.ndarray], pixel: PixelSize | None) -> Columns:
    """Returns the columns, followed by their lengths and areas in a unit, such as `area_mm2` and `perimeter_mm`.

    >>> list(in_units({"area": np.array([4])}, PixelSize(0.5, "mm")).items())
    [('area', array([4])), ('area_mm2', array([1.]))]
    """
    if pixel is None:
        return dict(columns)
    extra = {
        f"{name}_{unit_of(power, pixel)}": columns[name] * pixel.size**power
        for name, power in POWERS.items()
        if name in columns
    }
    return {**columns, **extra}


def unit_of(power: int, pixel: PixelSize) -> str:
    """Returns the unit of a length, or of an area for power 2: "mm" or "mm2"."""
    return pixel.unit + ("" if power == 1 else str(power))


def object_rows(columns: Mapping[str, np.ndarray], class_name: str) -> list[Row]:
    """Returns a row for each object; `class` follows `label`.

    Args:
      columns: of the objects; see `regions.measure`.
      class_name: of their class.
    """
    values = {name: column.tolist() for name, column in columns.items()}
    names = list(values)
    return [
        {"label": label, "class": class_name, **{name: values[name][i] for name in names if name != "label"}}
        for i, label in enumerate(values["label"])
    ]


def image_row(size: Sequence[int], areas: Mapping[str, Sequence[int]], pixel: PixelSize | None) -> Row:
    """Returns the row of an image: its size, and for each class the number of objects, their area and the share of the image.

    >>> image_row((2, 4), {"cell": [3, 1]}, None)
    {'height': 2, 'width': 4, 'count_cell': 2, 'area_cell': 4, 'coverage_cell': 0.5}

    Args:
      size: height and width.
      areas: the pixels of each object by class.
      pixel: the size of a pixel, if it is known.
    """
    row: Row = {"height": size[0], "width": size[1]}
    for name, of_class in areas.items():
        total = sum(of_class)
        row |= {f"count_{name}": len(of_class), f"area_{name}": total, f"coverage_{name}": total / (size[0] * size[1])}
        if pixel is not None:
            row[f"area_{name}_{unit_of(2, pixel)}"] = total * pixel.size**2
    return row


def to_csv(rows: Iterable[Mapping[str, str | int | float]], first: Sequence[str] = ()) -> str:
    r"""Returns rows as CSV. Rows may have different columns: a value that one lacks is empty.

    >>> to_csv([{"a": 1}, {"a": 2, "b": float("nan")}])
    'a,b\n1,\n2,\n'

    Args:
      rows: by column.
      first: the names of columns that come first, also without rows.
    """
    rows = list(rows)
    names = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: "" if value != value else value for name, value in row.items()})
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a table."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tables_of_images(folder: ResultFolder, tables: Path) -> Iterator[dict[str, list[dict[str, str]]]]:
    """Yields the rows of all images that are measured, by their names, until nothing is new: other processes may write there, too.

    Args:
      folder: the results of images.
      tables: the folder of the images' tables, a local one.
    """
    listed: list[str] | None = None
    while listed != (names := sorted(_names(tables))):
        listed, there = names, folder.listing()
        yield {name: read_csv(tables / f"{name}.csv") for name in names if there.has_all(name)}


def _names(tables: Path) -> list[str]:
    """Returns the names of the images whose tables are in a folder and its subfolders."""
    paths = itertools.chain.from_iterable(
        (os.path.relpath(os.path.join(place, file), tables) for file in files if not file.startswith("."))
        for place, _, files in os.walk(tables)
    )
    return [path.removesuffix(".csv") for path in paths if path.endswith(".csv")]
