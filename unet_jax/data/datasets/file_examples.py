"""Reads the examples of a data set from files, and finds what they have in common.

Images have any number of channels, the same for all. Only grey and RGB images may be mixed: all become RGB, and a grey channel
is repeated three times. 8-bit, 16-bit and float images may not be mixed, because their grey values mean different things.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np

from unet_jax.data.dataset import SPLITS
from unet_jax.data.datasets import classes, palettes
from unet_jax.data.datasets.classes import MaskStats, count_classes
from unet_jax.data.nan_pixels import check_unknown, unknown_pixels
from unet_jax.errors import UserError, collect_errors, raise_error
from unet_jax.segmentation import VOID_ID


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


# What images of each type are, in a sentence.
DEPTHS = {"uint8": "8-bit", "uint16": "16-bit", "float32": "of floats"}


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
      on_error: gets every error, and one if images of different types or channels are mixed, or if indexed masks differ in
        the colour of an index. If it returns and every row has an error, channels is 0.
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
    files = [row.paths[0] for row in rows]
    _check_mixture(files, [DEPTHS[dtype] for dtype in dtypes], "convert all images to the same depth", on_error)
    if set(channels) != {1, 3}:
        of_each = [f"of {number} channel{'s' if number > 1 else ''}" for number in channels]
        remedy = "give images of the same channels (only grey and RGB images may be mixed)"
        _check_mixture(files, of_each, remedy, on_error)
    masks = [row.paths[1] for row in rows]
    palettes.check_orders(dict(zip(masks, colours, strict=True)), on_error)
    num_classes = count_classes(masks, stats, known_classes, reading.get("mask_values", ()), on_error)
    pixels = sum(mask.counts for mask in stats).tolist()
    return {"channels": max(channels), "dtype": dtypes[0], "num_classes": num_classes, "pixels": pixels}


def _check_mixture(
    files: Sequence[str], kinds: Sequence[str], remedy: str, on_error: Callable[[UserError], None]
) -> None:
    """Reports the first file that is not of the kind of the first one."""
    other = next((place for place, kind in enumerate(kinds) if kind != kinds[0]), 0)
    if other:
        on_error(UserError(f"{files[other]}: is {kinds[other]}, but {files[0]} is {kinds[0]}; {remedy}"))


def settle_unknown(example: dict[str, Any], path: str, nan: str) -> None:
    """Refuses the pixels of an image that are NaN or infinite, or makes them void.

    A void pixel is NaN in every channel, void in the mask, and of no instance; see `nan_pixels`.

    Args:
      example: image, mask and perhaps instances; what could not be read is missing. It is changed in place.
      path: file of the image, for the error.
      nan: "error" or "void".

    Raises:
      UserError: there are such pixels, and `nan` is "error".
    """
    unknown = unknown_pixels(example["image"]) if "image" in example else None
    if unknown is None:
        return
    if nan == "error":
        try:
            check_unknown(example["image"])
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    for name, value in (("image", np.float32(np.nan)), ("mask", VOID_ID), ("instances", 0)):
        if name in example:
            example[name] = example[name].copy()
            example[name][unknown] = value
