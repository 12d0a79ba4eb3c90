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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from unet_jax.data import classes, files, splits
from unet_jax.data.cache import file_digests, remember
from unet_jax.data.prepare import SPLITS, VOID, Builder, Dataset, cache_key, prepare
from unet_jax.errors import UserError

MOST_DERIVED_CLASSES = 32  # more than this found in masks of unknown K are grey values, not ids
READERS = (files.__file__, __file__)  # their code decides what is stored, so a change of it makes old caches unread


class ImageFolder(Builder):
    """The checked files; `inputs["files"]` lists for each split (id, group, image, mask, instances or None)."""

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
    if not root:
        raise UserError("image_folder: root is not set; set it to the folder that holds images/ and masks/")
    base = Path(root).expanduser()
    folders = {"images": base / "images", "masks": base / masks_dir}
    if (base / "instances").is_dir():
        folders["instances"] = base / "instances"
    listed = {name: {k: str(path) for k, path in files.list_images(path).items()} for name, path in folders.items()}
    _check_pairs(folders, listed)
    assigned = splits.assign(listed["images"], base / "index.csv", split_fractions)

    rows = {split: [] for split in SPLITS}
    for id_, (split, group) in assigned.items():
        rows[split].append((id_, group, *(listed.get(name, {}).get(id_) for name in ("images", "masks", "instances"))))
    every = [row for split in SPLITS for row in rows[split]]
    digests = file_digests((path for row in every for path in row[2:] if path), cache_dir)
    contents = [
        [split, *row[:2], *(path and digests[path] for path in row[2:])] for split in SPLITS for row in rows[split]
    ]
    readers = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in READERS]
    fingerprint = hashlib.sha256(json.dumps([readers, contents]).encode()).hexdigest()
    reading = {"mask_values": mask_values, "palette": palette}
    checked = hashlib.sha256(json.dumps([fingerprint, reading, known_classes]).encode()).hexdigest()
    facts = remember(checked, lambda: _check(every, known_classes, **reading), cache_dir)
    names = tuple(class_names) or ("background", *(f"class_{k}" for k in range(1, facts["num_classes"])))
    config = facts | reading | {"overlapping": False, "instances": "instances" in folders}
    return Dataset(
        name="image_folder",
        class_names=names,
        channels=facts["channels"],
        overlapping=False,
        fingerprint=cache_key(ImageFolder, config, fingerprint),
        dtype=facts["dtype"],
        sources=prepare(ImageFolder, config, fingerprint, cache_dir, inputs={"files": rows}),
        palette=palette,
        remedy="set data.split_fractions or write index.csv with id,split",
    )


def _check_pairs(folders, listed) -> None:
    if not listed["images"]:
        raise UserError(f"{folders['images']}: holds no images; put {', '.join(files.SUFFIXES)} files there")
    for name, paths in listed.items():
        if name == "images":
            continue
        lonely = [id_ for id_ in listed["images"] if id_ not in paths]
        if lonely:
            raise UserError(
                f"{listed['images'][lonely[0]]}: has no file {lonely[0]}.* in {folders[name]} ({len(lonely)} such); "
                "add it or move the image away"
            )
        lonely = [id_ for id_ in paths if id_ not in listed["images"]]
        if lonely:
            raise UserError(
                f"{paths[lonely[0]]}: has no file {lonely[0]}.* in {folders['images']} ({len(lonely)} such); "
                "add the image or move the file away"
            )


def _check(rows, known_classes: int, mask_values, palette) -> dict:
    """Reads every file and returns what they have in common: channels, dtype and num_classes."""

    def facts(row):
        _, _, image, mask, instances = row
        pixels = files.read_image(image)
        ids = files.to_ids(files.read_labels(mask), mask, mask_values, palette)
        others = {mask: ids} | ({instances: files.read_instances(instances)} if instances else {})
        for path, array in others.items():
            if array.shape != pixels.shape[:2]:
                sizes = [f"{width} x {height}" for height, width in (array.shape, pixels.shape[:2])]
                raise UserError(f"{path}: is {sizes[0]} pixels, its image {sizes[1]}; make them the same size")
        found = files.values_in(ids)
        holds_void = VOID in found
        found = found[found != VOID]
        outside = found[found >= known_classes] if known_classes else ()
        if len(outside):
            raise UserError(
                f"{mask}: holds the ids {', '.join(map(str, found))}, but there are {known_classes} classes "
                f"(ids 0..{known_classes - 1}, 255 void); correct the mask, the number of classes, or set mask_values"
            )
        return pixels.shape[-1], str(pixels.dtype), int(found.max(initial=0)), holds_void

    with ThreadPoolExecutor(2) as pool:
        channels, dtypes, largest, void = zip(*pool.map(facts, rows), strict=True)
    if len(set(dtypes)) > 1:
        eight, sixteen = (rows[dtypes.index(dtype)][2] for dtype in ("uint8", "uint16"))
        raise UserError(f"{sixteen}: is 16-bit and {eight} is 8-bit; convert the images to one depth")
    if any(void) and not any(largest) and not mask_values:
        num = known_classes or 2
        ids = tuple(range(num)) if num < 5 else f"(0, 1, ..., {num - 1})"
        raise UserError(
            f"{rows[void.index(True)][3]}: no mask holds another value than 0 and 255; set mask_values=(0, 255) if 255 is "
            f"class 1 of two classes, or mask_values={ids} if it is void"
        )
    derived = max(largest) + 1
    if not known_classes and derived > MOST_DERIVED_CLASSES:
        mask = rows[largest.index(derived - 1)][3]
        raise UserError(
            f"{mask}: holds the value {derived - 1}; if the masks hold grey values set mask_values, "
            f"if there are {derived} classes set num_classes={derived}"
        )
    return {"channels": max(channels), "dtype": dtypes[0], "num_classes": known_classes or max(derived, 2)}
