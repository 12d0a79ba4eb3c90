"""Makes data sets from files, for any layout of the files.

A data set lists the files of each example and defines how one example is read from them. This module hashes every file,
checks every example before the first one is stored, and prepares the set once per content.

Grey and RGB images may be mixed: all become RGB, and a grey channel is repeated three times. 8- and 16-bit images may not be
mixed, because their grey values mean different things.
"""

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np

from unet_jax.data.dataset import SPLITS, Dataset
from unet_jax.data.datasets import classes, image_files, instance_labels, palettes
from unet_jax.data.datasets.classes import count_classes, name_classes
from unet_jax.data.store.builder import Builder, cache_key, prepare
from unet_jax.data.store.cache import file_digests, remember
from unet_jax.data.store.code_digest import code_digest
from unet_jax.errors import UserError, collect_errors, raise_error
from unet_jax.storage.digests import json_sha256

# Bytes of decoded examples that are kept from the survey to the preparation.
KEPT_BYTES = 2**29


class Row(NamedTuple):
    """Holds the id, the group and the paths of one example: first the image, then the files of its mask."""

    id: str
    group: str
    paths: tuple[str, ...]


class Kept:
    """Keeps examples in memory from the survey to the preparation, which then need not read their files again.

    What does not fit into `KEPT_BYTES` is not kept. Threads may call it.
    """

    def __init__(self):
        self._examples: dict[Row, dict[str, np.ndarray]] = {}
        self._room = KEPT_BYTES
        self._lock = threading.Lock()

    def add(self, row: Row, example: dict[str, np.ndarray]) -> None:
        """Keeps an example if there is room."""
        size = sum(array.nbytes for array in example.values())
        with self._lock:
            if size <= self._room:
                self._room -= size
                self._examples[row] = example

    def pop(self, row: Row) -> dict[str, np.ndarray] | None:
        """Returns an example and forgets it; None if it was not kept."""
        return self._examples.pop(row, None)


class FromFiles(Builder):
    """Stores the examples of `inputs["rows"]`, the rows of each split. A subclass defines `read`."""

    @staticmethod
    def read(
        id_: str, paths: Sequence[str], reading: Mapping[str, Any], on_error: Callable[[UserError], None] = raise_error
    ) -> dict[str, np.ndarray]:
        """Returns image, mask and, if the example has them, instances, from the files of one example.

        Args:
          id_: id of the example.
          paths: paths of its `Row`.
          reading: as in `dataset_from_files`.
          on_error: gets every error in the files. If it returns, the other files are still read, and the result lacks what
            could not be read.

        For an indexed mask whose indices were taken for values, `read` may add `colours`, as in `image_files.Mask`.
        """
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """Returns the number of rows of each split."""
        return {split: len(rows) for split, rows in self.inputs["rows"].items()}

    def example(self, split: str, index: int) -> dict[str, Any]:
        """Returns the Example of a row; a grey image is repeated to the channels of the data set."""
        row = self.inputs["rows"][split][index]
        example = self.inputs["kept"].pop(row) or self.read(row.id, row.paths, self.settings)
        example.pop("colours", None)
        if example["image"].shape[-1] != self.settings["channels"]:
            example["image"] = cv2.merge([example["image"]] * self.settings["channels"])
        return example | {"id": row.id, "group": row.group}


def by_split(assigned: Mapping[str, tuple[str, str]], paths: Callable[[str], tuple[str, ...]]) -> dict[str, list[Row]]:
    """Returns the rows of each split, in the order of `assigned`.

    Args:
      assigned: (split, group) by id, the result of `splits.assign`.
      paths: gives the paths of an example for its id.
    """
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for id_, (split, group) in assigned.items():
        rows.setdefault(split, []).append(Row(id_, group, paths(id_)))
    return rows


def dataset_from_files(
    builder_cls: type[FromFiles],
    rows: Mapping[str, list[Row]],
    *,
    readers: Sequence[str],
    reading: Mapping[str, Any],
    known_classes: int,
    class_names: Sequence[str] = (),
    instances: bool,
    palette: Sequence[tuple[int, int, int]] = (),
    remedy: str,
    cache_dir: str = "",
) -> Dataset:
    """Returns the data set of these rows, checked and prepared once per content.

    Args:
      builder_cls: reads the examples.
      rows: the rows of each split.
      readers: source files whose code decides what is stored. If one of them changes, the set is prepared again.
      reading: options given to `read`. An example depends on them and on the contents of its files only.
      known_classes: number of classes K, or 0 to count the classes in the masks.
      class_names: names by class id; () means background, class_1, ...
      instances: True if every example has an instance map.
      palette: as in `Dataset`.
      remedy: as in `Dataset`.
      cache_dir: folder of prepared data; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.

    Raises:
      UserError: a file cannot be read, or an example is wrong.
    """
    all_rows = [row for split in SPLITS for row in rows[split]]
    digests = file_digests(dict.fromkeys(path for row in all_rows for path in row.paths), cache_dir)
    contents = [
        [split, id_, group, *(digests[path] for path in paths)] for split in SPLITS for id_, group, paths in rows[split]
    ]
    code = code_digest((__file__, *image_files.READERS, *readers))
    fingerprint = json_sha256([code, contents])
    rules = code_digest((classes.__file__, instance_labels.__file__, palettes.__file__))
    checked = json_sha256([fingerprint, rules, reading, known_classes])

    def check_unchanged() -> None:
        now = file_digests(digests, cache_dir)
        if changed := [path for path in digests if now[path] != digests[path]]:
            raise UserError(
                f"{changed[0]}: was changed while the data set was read ({len(changed)} such files); start again when no other "
                "program writes to the data"
            )

    kept = Kept()

    def survey() -> dict[str, Any]:
        found = survey_rows(builder_cls, all_rows, reading, known_classes, on_example=kept.add)
        check_unchanged()
        return found

    facts = remember(checked, survey, cache_dir)
    pixels = facts.pop("pixels")
    warnings = find_copies(rows, digests)
    # Where the reader takes `mask_values`, the user decides what the classes are.
    if "mask_values" in reading:
        names, values = class_names, reading["mask_values"]
        warnings += classes.find_inverted(pixels, facts["num_classes"], names, values, palette)
        warnings += [] if known_classes else classes.find_gaps(pixels, facts["num_classes"])
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    config = facts | dict(reading) | {"overlapping": False, "instances": instances}
    return Dataset(
        name=builder_cls.name,
        class_names=name_classes(class_names, facts["num_classes"]),
        channels=facts["channels"],
        overlapping=False,
        fingerprint=cache_key(builder_cls, config, fingerprint),
        dtype=facts["dtype"],
        sources=prepare(builder_cls, config, fingerprint, cache_dir, {"rows": rows, "kept": kept}, check_unchanged),
        palette=tuple(palette),
        remedy=remedy,
    )


def find_copies(rows: Mapping[str, list[Row]], digests: Mapping[str, str]) -> list[str]:
    """Returns a warning if image files of different splits have the same content, else nothing.

    Args:
      rows: the rows of each split.
      digests: the sha256 of each file, by path.
    """
    first: dict[str, tuple[str, str]] = {}
    copies = []
    for split, listed in rows.items():
        for path in dict.fromkeys(row.paths[0] for row in listed):
            other_split, other = first.setdefault(digests[path], (split, path))
            # One file may hold images of several splits.
            if other_split != split and other != path:
                copies.append(f"{path} ({split}) and {other} ({other_split})")
    if not copies:
        return []
    return [
        f"image files in different splits are the same: {copies[0]}; {len(copies)} such pairs; the score will be too good: remove "
        "one of each, or give them the same group in index.csv or the split file"
    ]


def survey_rows(
    builder_cls: type[FromFiles],
    rows: Sequence[Row],
    reading: Mapping[str, Any],
    known_classes: int,
    on_error: Callable[[UserError], None] = raise_error,
    on_example: Callable[[Row, dict[str, np.ndarray]], None] = lambda row, example: None,
) -> dict[str, Any]:
    """Reads every row and returns what the rows have in common: channels, dtype, num_classes and pixels.

    `pixels` is the number of pixels by class id in all masks, a list of 256 numbers.

    Args:
      builder_cls: reads the examples.
      rows: the rows of all splits.
      reading: options given to `read`.
      known_classes: number of classes K, or 0 to count the classes in the masks.
      on_error: gets every error, and one if 8- and 16-bit images are mixed, or if indexed masks differ in the colour of an
        index. If it returns and every row has an error, channels is 0.
      on_example: called with each row without an error and its example; two threads call it.
    """

    def read_one(row):
        errors, example = [], {}
        with collect_errors(errors.append):
            example = builder_cls.read(row.id, row.paths, reading, errors.append)
        stats = None
        if "mask" in example:
            stats = classes.mask_stats(example["mask"], known_classes)
            with collect_errors(errors.append):
                classes.check_ids(row.paths[1], stats.values, known_classes)
        colours = example.pop("colours", {})
        if errors or not {"image", "mask"} <= set(example):
            return errors, None
        on_example(row, example)
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
