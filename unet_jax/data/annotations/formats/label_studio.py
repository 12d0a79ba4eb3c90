"""Reads Label Studio JSON: polygons, rectangles, ellipses and brushes of tasks with one image.

Places and lengths are percent of `original_width` and `original_height`. They become pixels first, and are turned then: a
rectangle about its corner (x, y), an ellipse about its centre, both clockwise.
"""

import math
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unet_jax.data.annotations import crops, polygons, shapes
from unet_jax.data.annotations.formats.brush import decode_brush
from unet_jax.data.annotations.objects import Annotated, Annotations, Crop, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.source import Source, find_image, read_json, size_of
from unet_jax.errors import UserError

SHAPES = ("polygon", "rectangle", "ellipse", "brush")
WITHOUT_AREA = ("keypoint", "vector")
# Results that say nothing about pixels. "labels" gives the class of a shape of the same id.
NO_SHAPES = (
    "labels",
    "choices",
    "textarea",
    "rating",
    "number",
    "taxonomy",
    "datetime",
    "relation",
    "pairwise",
    "ranker",
)
# Label Studio puts eight hexadecimal digits before the name of a file that is uploaded.
UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")


def recognise(source: Source) -> bool:
    """Returns True if a JSON file of the source is a list of tasks with `data` and `annotations`."""
    return any(_is_tasks(read_json(path)) for path in source.ending(".json"))


def read(source: Source, options: Options) -> Annotations:
    """Returns the annotations of all files of tasks; the labels are those that are used, sorted by name.

    A task without annotation is an image of which the source says nothing; an annotation without a shape says that its image
    holds no object.

    Raises:
      UserError: something is wrong; the line names file, task and shape.
    """
    files = [path for path in source.ending(".json") if _is_tasks(read_json(path))]
    if not files:
        raise UserError(f"{source.path}: holds no tasks of Label Studio; export it as JSON, not as JSON-MIN")
    return Annotations((), _images(files, options))


def _is_tasks(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(task, dict) and isinstance(task.get("data"), dict) and isinstance(task.get("annotations"), list)
            for task in value
        )
    )


def _images(files: list[Path], options: Options) -> Iterator[Annotated]:
    for path in files:
        for number, task in enumerate(read_json(path), 1):
            name = f"{path}: task {task.get('id', number)}"
            image = _find_image(task["data"], name, path, options)
            size = size_of(image)
            kept = [one for one in task["annotations"] if isinstance(one, dict) and not one.get("was_cancelled")]
            if len(kept) > 1:
                raise UserError(
                    f"{name}: has {len(kept)} annotations; keep one of them in Label Studio and export it again"
                )
            objects = _objects(kept[0].get("result"), name, size, options) if kept else None
            yield Annotated(image, 0, size, objects)


def _find_image(data: dict[str, Any], name: str, file: Path, options: Options) -> Path:
    """Returns the image of a task: as it is named, beside the file or in `options.images`, or without what uploading added."""
    # A task may hold other texts, too.
    texts = [value for key, value in data.items() if isinstance(value, str) and (key == "image" or "/" in value)]
    address = data["image"] if isinstance(data.get("image"), str) else texts[0] if len(texts) == 1 else ""
    if not address:
        raise UserError(f"{name}: its data name no image, or more than one ({', '.join(data)}); name it 'image'")
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError as error:
        raise UserError(f"{name}: its image {address!r} is no address ({error}); correct it") from error
    # Of local files, the path stands behind ?d=.
    local = urllib.parse.parse_qs(parts.query).get("d", [""])[0]
    full = local or urllib.parse.unquote(parts.path)
    last = full.rsplit("/", 1)[-1]
    for candidate in (full, last, UPLOADED.sub("", last, count=1)):
        try:
            return find_image(candidate, file, options)
        except UserError:
            continue
    raise UserError(
        f"{name}: its image {last!r} is not in {options.images or file.parent}; give the folder of the images with --images"
    )


def _objects(results: Any, name: str, size: tuple[int, int], options: Options) -> tuple[Object, ...]:
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise UserError(f"{name}: its result is not a list of objects; export it again as JSON")
    # The class of a shape may be a result of its own, of the same id.
    given = {str(one.get("id")): _labels(one, "labels") for one in results if one.get("type") == "labels"}
    objects = []
    for number, result in enumerate(results, 1):
        kind = str(result.get("type", ""))
        shape = kind.removesuffix("labels") or kind
        where = f"{name}: result {number}, a {kind}"
        if kind in NO_SHAPES:
            continue
        if shape in WITHOUT_AREA:
            if options.no_area == "error":
                raise UserError(f"{where}: covers no pixels; remove it, or set --no_area=skip")
            options.on_note(f"{where}: is passed over")
            continue
        if shape not in SHAPES:
            raise UserError(f"{where}: is not read ({', '.join(SHAPES)} are); remove it or draw it as a polygon")
        labels = (
            _labels(result, kind) or given.get(str(result.get("id")), []) or ([options.label] if options.label else [])
        )
        if len(labels) != 1:
            raise UserError(f"{where}: has {len(labels)} labels, not 1 ({', '.join(labels)}); give it one class")
        _check_image(result, where, size)
        objects.append(Object(labels[0], FILLS[shape](result["value"], where, size, options)))
    return tuple(objects)


def _labels(result: dict[str, Any], key: str) -> list[str]:
    value = result.get("value")
    labels = value.get(key) if isinstance(value, dict) else None
    return [str(label) for label in labels] if isinstance(labels, list) else []


def _check_image(result: dict[str, Any], name: str, size: tuple[int, int]) -> None:
    """Checks that a shape was drawn on the image as its file is."""
    if not isinstance(result.get("value"), dict):
        raise UserError(f"{name}: has no value; export it again as JSON")
    if result.get("image_rotation", 0):
        raise UserError(
            f"{name}: was drawn on an image turned by {result['image_rotation']} degrees (image_rotation); turn it back in Label Studio "
            "and draw it again"
        )
    if result.get("item_index", 0):
        raise UserError(f"{name}: belongs to one of several images of its task; give each image a task")
    stated = (result.get("original_height"), result.get("original_width"))
    if stated != size:
        raise UserError(
            f"{name}: was drawn on {stated[1]} x {stated[0]} pixels, its image has {size[1]} x {size[0]}; give the image that was "
            "annotated"
        )


def _polygon(value: dict[str, Any], name: str, size: tuple[int, int], options: Options) -> Crop:
    if value.get("closed") is False:
        raise UserError(f"{name}: is not closed; close it in Label Studio, or remove it")
    ring = polygons.to_ring(value.get("points"), name) * _scale(size)
    return polygons.fill([ring], size, options.polygon_points)


def _rectangle(value: dict[str, Any], name: str, size: tuple[int, int], options: Options) -> Crop:
    x, y, width, height = _pixels(value, ("x", "y", "width", "height"), name, size)
    corners = shapes.box_ring(x, y, x + width, y + height, _turn(value, name), about=(x, y))
    return polygons.fill([polygons.to_ring(corners, name)], size)


def _ellipse(value: dict[str, Any], name: str, size: tuple[int, int], options: Options) -> Crop:
    x, y, x_radius, y_radius = _pixels(value, ("x", "y", "radiusX", "radiusY"), name, size)
    return shapes.fill_ellipse(x, y, x_radius, y_radius, size, _turn(value, name), name)


def _brush(value: dict[str, Any], name: str, size: tuple[int, int], options: Options) -> Crop:
    if value.get("format", "rle") != "rle":
        raise UserError(f"{name}: its format {value['format']!r} is not rle; export it again")
    return crops.from_mask(decode_brush(value.get("rle") or [], size, name), size)


FILLS = {"polygon": _polygon, "rectangle": _rectangle, "ellipse": _ellipse, "brush": _brush}


def _scale(size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels (x, y) of a percent."""
    return np.array(size[::-1]) / 100


def _pixels(value: dict[str, Any], keys: tuple[str, ...], name: str, size: tuple[int, int]) -> list[float]:
    """Returns percents as pixels; every second key counts along the height."""
    across, down = _scale(size).tolist()
    return [_number(value, key, name) * (down if place % 2 else across) for place, key in enumerate(keys)]


def _turn(value: dict[str, Any], name: str) -> float:
    return _number(value, "rotation", name) if value.get("rotation") else 0.0


def _number(value: dict[str, Any], key: str, name: str) -> float:
    number = value.get(key)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UserError(f"{name}: its {key} {number!r} is not a number; export it again as JSON")
    return float(number)
