"""Reads the examples of a data set from files, and finds what they have in common.

Grey and RGB images may be mixed: all become RGB, and a grey channel is repeated three times. 8- and 16-bit images may not be
mixed, because their grey values mean different things.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np

from unet_jax.data.dataset import SPLITS
from unet_jax.data.datasets import classes, palettes
from unet_jax.data.datasets.classes import MaskStats, count_classes
from unet_jax.errors import UserError, collect_errors, raise_error


class Row(NamedTuple):
    """Holds where one example lies.

    Attributes:
      id: its id.
      group: its group.
      paths: first the image, then the files of its mask.
      pages: the page in each file, counted from 0; () where each file holds one picture.
    """

    id: str
    group: str
    paths: tuple[str, ...]
    pages: tuple[int, ...] = ()


class ReadExample(Protocol):
    """Reads an example from its files."""

    def __call__(
        self,
        row: Row,
        reading: Mapping[str, Any],
        on_error: Callable[[UserError], None] = raise_error,
        /,
    ) -> dict[str, Any]:
        """Returns image, mask and, if the example has them, instances.

        Args:
          row: the example.
          reading: as in `from_files.dataset_from_files`.
          on_error: gets every error in the files. If it returns, the other files are still read, and the result lacks what
            could not be read.

        For an indexed mask whose indices were taken for values, the result may have `colours`, as in `image_files.Mask`.
        """
        ...


def by_split(
    assigned: Mapping[str, tuple[str, str]],
    paths: Callable[[str], tuple[str, ...]],
    pages: Callable[[str], tuple[int, ...]] = lambda id_: (),
) -> dict[str, list[Row]]:
    """Returns the rows of each split, in the order of `assigned`.

    Args:
      assigned: (split, group) by id, the result of `splits.assign`.
      paths: gives the paths of an example for its id.
      pages: gives the page in each of them.
    """
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for id_, (split, group) in assigned.items():
        rows.setdefault(split, []).append(Row(id_, group, paths(id_), pages(id_)))
    return rows


def survey_rows(
    read: ReadExample,
    rows: Sequence[Row],
    reading: Mapping[str, Any],
    known_classes: int,
    on_error: Callable[[UserError], None] = raise_error,
    on_example: Callable[[Row, dict[str, np.ndarray], MaskStats], None] = lambda row, example, stats: None,
) -> dict[str, Any]:
    """Reads every row and returns what the rows have in common: channels, dtype, num_classes and pixels.

    `pixels` is the number of pixels by class id in all masks, a list of 256 numbers.

    Args:
      read: reads an example.
      rows: the rows of all splits.
      reading: options given to `read`.
      known_classes: number of classes K, or 0 to count the classes in the masks.
      on_error: gets every error, and one if 8- and 16-bit images are mixed, or if indexed masks differ in the colour of an
        index. If it returns and every row has an error, channels is 0.
      on_example: called with each row without an error, its example and the statistics of the mask; two threads call it.
    """

    def read_one(row):
        errors, example = [], {}
        with collect_errors(errors.append):
            example = read(row, reading, errors.append)
        stats = None
        if "mask" in example:
            stats = classes.mask_stats(example["mask"], known_classes)
            with collect_errors(errors.append):
                classes.check_ids(row.paths[1], stats.values, known_classes)
        colours = example.pop("colours", {})
        if errors or not {"image", "mask"} <= set(example):
            return errors, None
        on_example(row, example, stats)
        return (), (row, example["image"].shape[-1], str(example["image"].dtype), stats, colours)

    facts_by_row = []
    with ThreadPoolExecutor(2) as pool:
        for errors, facts in pool.map(read_one, rows):
            for error in errors:
                on_error(error)
            if facts:
                facts_by_row.append(facts)
    if not facts_by_row:
        return {"channels": 0, "dtype": "", "num_classes": known_classes, "pixels": [0] * 256}
    rows, channels, dtypes, stats, colours = zip(*facts_by_row, strict=True)
    if len(set(dtypes)) > 1:
        eight, sixteen = (rows[dtypes.index(dtype)].paths[0] for dtype in ("uint8", "uint16"))
        on_error(UserError(f"{sixteen}: is 16-bit, but {eight} is 8-bit; convert all images to the same depth"))
    masks = [row.paths[1] for row in rows]
    palettes.check_orders(dict(zip(masks, colours, strict=True)), on_error)
    num_classes = count_classes(masks, stats, known_classes, reading.get("mask_values", ()), on_error)
    pixels = sum(mask.counts for mask in stats).tolist()
    return {"channels": max(channels), "dtype": dtypes[0], "num_classes": num_classes, "pixels": pixels}
