"""A folder of images and masks as a data set.

    ROOT/images/ID.*     PNG, TIFF, BMP or JPEG; 8- or 16-bit; grey, RGB or RGBA (alpha is dropped); any sizes
    ROOT/masks/ID.*      PNG, TIFF or BMP: class ids 0..K-1 and 255 = void, a palette image, or RGB with `palette`
    ROOT/instances/ID.*  optional: instance numbers, 0 = background
    ROOT/index.csv       optional: id,split[,group]; without it the split is a hash of the id

A folder whose masks all hold nothing but 0 and 255 is refused, unless `mask_values` says whether 255 is a class.

Grey and RGB images may be mixed: all become RGB, grey repeated three times. 8- and 16-bit images may not: their grey
values mean different things. Every file is checked before the first one is stored.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unet_jax.data import classes, files, pairs, splits
from unet_jax.data.cache import file_digests, remember
from unet_jax.data.prepare import SPLITS, Builder, Dataset, cache_key, prepare

REMEDY = "set data.split_fractions or write index.csv with id,split"  # for an empty split
# Their code decides what is stored, so a change of it makes old caches unread.
READERS = (files.__file__, pairs.__file__, __file__)


class ImageFolder(Builder):
    """The checked files; `inputs["files"]` lists the `pairs.Row`s of each split."""

    def counts(self):
        return {split: len(rows) for split, rows in self.inputs["files"].items()}

    def example(self, split, index):
        id_, group, image, mask, instances = self.inputs["files"][split][index]
        pixels = files.read_image(image)
        if pixels.shape[-1] != self.settings["channels"]:
            pixels = np.repeat(pixels, self.settings["channels"], -1)
        values = files.read_labels(mask)
        ids = files.to_ids(values, mask, self.settings["mask_values"], self.settings["palette"])
        example = {"image": pixels, "mask": ids, "id": id_, "group": group}
        return example | ({"instances": files.read_instances(instances)} if instances else {})


def create(
    root: str = "",
    *,
    cache_dir: str = "",
    masks_dir: str = "masks",
    class_names: Sequence[str] = (),
    num_classes: int = 0,
    mask_values: Sequence[int] = (),
    palette: files.Palette = (),
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
) -> Dataset:
    """The data set in the folder `root`, prepared once per content.

    Args:
      root: the folder described above. `masks_dir` names another folder of masks in it.
      class_names: by class id; () means background, class_1, ... for `num_classes` classes.
      num_classes: K; 0 means the number of `class_names`, `palette` or `mask_values`, else the largest id found + 1.
      mask_values: the values that stand for class 0, 1, ... in the masks, e.g. (0, 255); () means they are ids.
      palette: an RGB triple per class; RGB masks are mapped by it exactly, and pictures are drawn with it.
      split_fractions: of train, val and test where there is no `index.csv` or it has no column `split`.

    Raises `UserError` on whatever is wrong with the folder; the message names the file, the value and the remedy.
    """
    known_classes, mask_values, palette = classes.check(class_names, num_classes, mask_values, palette)
    split_fractions = splits.check_fractions(split_fractions)
    rows = pairs.find(root, masks_dir, split_fractions)
    every = [row for split in SPLITS for row in rows[split]]
    digests = file_digests((path for row in every for path in row[2:] if path), cache_dir)
    contents = [
        [split, *row[:2], *(path and digests[path] for path in row[2:])] for split in SPLITS for row in rows[split]
    ]
    readers = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in READERS]
    fingerprint = hashlib.sha256(json.dumps([readers, contents]).encode()).hexdigest()
    reading = {"mask_values": mask_values, "palette": palette}
    checked = hashlib.sha256(json.dumps([fingerprint, reading, known_classes]).encode()).hexdigest()
    facts = remember(checked, lambda: pairs.check_files(every, known_classes, **reading), cache_dir)
    config = facts | reading | {"overlapping": False, "instances": any(row.instances for row in every)}
    return Dataset(
        name="image_folder",
        class_names=names(class_names, facts["num_classes"]),
        channels=facts["channels"],
        overlapping=False,
        fingerprint=cache_key(ImageFolder, config, fingerprint),
        dtype=facts["dtype"],
        sources=prepare(ImageFolder, config, fingerprint, cache_dir, inputs={"files": rows}),
        palette=palette,
        remedy=REMEDY,
    )


def names(class_names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """The class names given, else background, class_1, ..."""
    return tuple(class_names) or ("background", *(f"class_{k}" for k in range(1, num_classes)))
