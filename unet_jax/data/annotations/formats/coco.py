"""Reads COCO JSON: polygons and run lengths.

A list of polygons is their union: COCO has no holes in polygons. Run lengths go down the columns, and may be a list, a text or
bytes; their own size must be that of the image. The classes are in the order of their category ids, which may have gaps.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unet_jax.data.annotations import crops, polygons
from unet_jax.data.annotations.objects import Annotated, Annotations, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.source import Source, find_image, read_json, size_of
from unet_jax.data.annotations.splits import split_of
from unet_jax.errors import UserError

CORRECT = "export the annotations again, or remove this one"


class _File(NamedTuple):
    path: Path
    split: str
    categories: dict[int, str]
    images: list[dict]
    annotations: dict[int, list[dict]]


def recognise(source: Source) -> bool:
    """Returns True if a JSON file of the source holds `images`, `annotations` and `categories`."""
    return bool(_coco_files(source, first_only=True))


def read(source: Source, options: Options) -> Annotations:
    """Returns the annotations of all COCO files of a source.

    An image without annotation counts as one of which the source says nothing. A file whose name holds the word train, val or
    test gives this split to its images, unless no other file gives another.

    Raises:
      UserError: something is wrong; the line names file and annotation.
    """
    files = [_open(path) for path in _coco_files(source)]
    if not files:
        raise UserError(f"{source.path}: holds no COCO file, a JSON object of images, annotations and categories")
    labels: dict[str, None] = {}
    for file in files:
        if labels and list(labels) != list(file.categories.values()):
            raise UserError(
                f"{file.path}: its categories are {', '.join(file.categories.values())}, those of {files[0].path} "
                f"{', '.join(labels)}; make them equal, or import the files apart"
            )
        labels |= dict.fromkeys(file.categories.values())
    return Annotations(tuple(labels), _read_files(files, options))


def _coco_files(source: Source, first_only: bool = False) -> list[Path]:
    found = []
    for path in source.ending(".json"):
        value = read_json(path)
        if isinstance(value, dict) and all(
            isinstance(value.get(key), list) for key in ("images", "annotations", "categories")
        ):
            found.append(path)
            if first_only:
                break
    return found


def _open(path: Path) -> _File:
    value = read_json(path)
    try:
        categories = {int(item["id"]): str(item["name"]) for item in value["categories"]}
        by_image: dict[int, list[dict]] = defaultdict(list)
        for item in value["annotations"]:
            by_image[item["image_id"]].append(item)
        known = {item["id"]: str(item["file_name"]) for item in value["images"]}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: an image, annotation or category lacks a key, or is none ({error!r}); {CORRECT}"
        ) from error
    for what, count in {"categories": len(categories), "images": len(known)}.items():
        if count < len(value[what]):
            raise UserError(f"{path}: two {what} have the same id; give each its own")
    if unnamed := [item["id"] for item in value["categories"] if not isinstance(item["name"], str) or not item["name"]]:
        raise UserError(f"{path}: category {unnamed[0]} has no name; give it one")
    if len(set(categories.values())) < len(categories):
        raise UserError(f"{path}: two categories have the same name; give each its own")
    for image_id, annotations in by_image.items():
        if image_id not in known:
            raise UserError(
                f"{path}: annotation {annotations[0].get('id')} is of image {image_id!r}, which is not in the file; {CORRECT}"
            )
    split = split_of(re.split(r"[^a-z]+", path.stem.lower()))
    return _File(path, split, dict(sorted(categories.items())), value["images"], by_image)


def _read_files(files: Sequence[_File], options: Options) -> Iterator[Annotated]:
    skipped = 0
    for file in files:
        for image in file.images:
            path = find_image(str(image["file_name"]), file.path, options)
            size = size_of(path)
            declared = (image.get("height"), image.get("width"))
            if None not in declared and declared != size:
                sizes = [f"{width} x {height}" for height, width in (size, declared)]
                raise UserError(
                    f"{path}: has {sizes[0]} pixels, but {file.path} was drawn on {sizes[1]}; give the images that were annotated"
                )
            items = file.annotations.get(image["id"])
            if items is None:
                yield Annotated(path, 0, size, None, file.split)
                continue
            objects = [_object(item, file, size, options) for item in items]
            skipped += objects.count(None)
            yield Annotated(path, 0, size, tuple(item for item in objects if item), file.split)
    if skipped:
        options.on_note(f"{skipped} annotations without a segmentation were passed over")


def _object(item: dict, file: _File, size: tuple[int, int], options: Options) -> Object | None:
    """Returns the object of an annotation, or None if it has no area and such are passed over."""
    name = f"{file.path}: annotation {item.get('id')}"
    if item.get("category_id") not in [*file.categories]:
        raise UserError(f"{name}: category_id {item.get('category_id')!r} is not in the file; {CORRECT}")
    segmentation = item.get("segmentation")
    if isinstance(segmentation, dict):
        crop = crops.from_mask(_decode(segmentation, name, size), size)
    else:
        parts = segmentation if isinstance(segmentation, list) else []
        # A list of numbers instead of a list of lists is one polygon.
        parts = [parts] if parts and not isinstance(parts[0], list) else parts
        without_area = not parts or any(not isinstance(part, list) or len(part) < 6 for part in parts)
        if without_area and options.no_area == "skip":
            return None
        if without_area:
            held = "is missing or empty" if not parts else "has a polygon of fewer than three points"
            raise UserError(
                f"{name}: its segmentation {held}; complete it, or set --no_area=skip to pass over such annotations"
            )
        rings = [polygons.to_ring(part, name) for part in parts]
        crop = crops.union([polygons.fill([ring], size, options.polygon_points) for ring in rings])
    return Object(file.categories[item["category_id"]], crop, is_crowd=bool(item.get("iscrowd")))


def _decode(segmentation: dict[str, Any], name: str, size: tuple[int, int]) -> np.ndarray:
    """Returns the mask of run lengths, `[H, W]`."""
    own, counts = segmentation.get("size"), segmentation.get("counts")
    if own != list(size):
        raise UserError(f"{name}: its run lengths are for {own} (height, width), its image has {list(size)}; {CORRECT}")
    runs = counts if isinstance(counts, list) else _runs(counts, name)
    if not all(isinstance(run, int) and run >= 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise UserError(
            f"{name}: its run lengths do not add up to {size[0]} x {size[1]} pixels, or one is negative; {CORRECT}"
        )
    values = np.arange(len(runs)) % 2
    return np.repeat(values.astype(bool), runs).reshape(size[1], size[0]).T


def _runs(text: Any, name: str) -> list[int]:
    """Returns the runs of compressed run lengths. pycocotools decodes them without a check, and leaves what is missing undefined.

    A run is written in digits of 5 bits, the lowest first, each as the character 48 + digit; 32 is added where another digit
    follows, and bit 16 of the last one is the sign. From the fourth run on, it is the difference to the run two before.
    """
    data = text.encode() if isinstance(text, str) else text
    if not isinstance(data, bytes):
        raise UserError(f"{name}: its run lengths are neither numbers nor text; {CORRECT}")
    runs: list[int] = []
    value = shift = 0
    for byte in data:
        digit = byte - 48
        if not 0 <= digit < 64 or shift > 60:
            raise UserError(
                f"{name}: its run lengths hold the character {chr(byte)!r}, which is none of them; {CORRECT}"
            )
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise UserError(f"{name}: its run lengths end in the middle of a number; {CORRECT}")
    return runs
