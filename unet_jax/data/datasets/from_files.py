"""Makes data sets from files, for any layout of the files.

A data set lists the files of each example and defines how one example is read from them. This module hashes every file,
checks every example before the first one is stored, and prepares the set once per content. See `file_examples`.
"""

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from unet_jax.data.dataset import SPLITS, Dataset
from unet_jax.data.datasets import classes, file_examples, image_files, instance_labels, palettes
from unet_jax.data.datasets.classes import name_classes
from unet_jax.data.datasets.file_examples import Row, survey_rows
from unet_jax.data.store.builder import Builder, cache_key, prepare
from unet_jax.data.store.cache import file_digests, remember
from unet_jax.data.store.code_digest import code_digest
from unet_jax.errors import UserError, raise_error
from unet_jax.storage.digests import json_sha256

# Bytes of decoded examples that are kept from the survey to the preparation.
KEPT_BYTES = 2**29


class Kept:
    """Keeps examples in memory from the survey to the preparation, which then need not read their files again.

    What does not fit into `KEPT_BYTES` is not kept. Threads may call it.
    """

    def __init__(self):
        self._examples: dict[Row, dict[str, np.ndarray]] = {}
        self._room = KEPT_BYTES
        self._lock = threading.Lock()

    def add(self, row: Row, example: dict[str, np.ndarray], stats: classes.MaskStats) -> None:
        """Keeps an example if there is room. The statistics of its mask are not kept."""
        del stats
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
        row: Row, reading: Mapping[str, Any], on_error: Callable[[UserError], None] = raise_error
    ) -> dict[str, np.ndarray]:
        """Returns an example; see `file_examples.ReadExample`."""
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """Returns the number of rows of each split."""
        return {split: len(rows) for split, rows in self.inputs["rows"].items()}

    def example(self, split: str, index: int) -> dict[str, Any]:
        """Returns the Example of a row; a grey image is repeated to the channels of the data set."""
        row = self.inputs["rows"][split][index]
        example = self.inputs["kept"].pop(row) or self.read(row, self.settings)
        example.pop("colours", None)
        if example["image"].shape[-1] != self.settings["channels"]:
            example["image"] = cv2.merge([example["image"]] * self.settings["channels"])
        return example | {"id": row.id, "group": row.group}


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
        [split, row.id, row.group, *(digests[path] for path in row.paths), *row.pages]
        for split in SPLITS
        for row in rows[split]
    ]
    code = code_digest((__file__, file_examples.__file__, *image_files.READERS, *readers))
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
        found = survey_rows(builder_cls.read, all_rows, reading, known_classes, on_example=kept.add)
        check_unchanged()
        return found

    facts = remember(checked, survey, cache_dir)
    pixels = facts.pop("pixels")
    warnings = find_copies(rows, digests)
    # Where the masks hold classes of the user's.
    if reading.get("masks", "") == "classes":
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
