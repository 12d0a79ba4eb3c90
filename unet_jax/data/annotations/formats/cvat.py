"""Reads "CVAT for images 1.1": an XML file of boxes, polygons, ellipses and masks.

Of shapes that overlap, that of the higher `z_order` wins, then the later one. Each shape is an object. An image without shapes is
one of which the source says nothing: the file does not tell whether anybody looked at it.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from unet_jax.data.annotations import crops, polygons, shapes
from unet_jax.data.annotations.objects import Annotated, Annotations, Crop, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.source import Source, find_image, size_of
from unet_jax.data.annotations.splits import split_of
from unet_jax.data.annotations.xml_file import read_xml
from unet_jax.errors import UserError

VERSION = "1.1"
NO_SHAPES = ("polyline", "points", "cuboid", "skeleton", "tag")


def recognise(source: Source) -> bool:
    """Returns True if an XML file of the source has the root `annotations`."""
    return any(_is_cvat(path) for path in source.ending(".xml"))


def read(source: Source, options: Options) -> Annotations:
    """Returns the annotations of all CVAT files of a source; the labels are in the order of the first task.

    Raises:
      UserError: something is wrong; the line names file, image and shape.
    """
    files = [path for path in source.ending(".xml") if _is_cvat(path)]
    if not files:
        raise UserError(f"{source.path}: holds no CVAT file, an XML file whose root is <annotations>")
    labels: dict[str, None] = {}
    for path in files:
        root = read_xml(path)
        if (version := (root.findtext("version") or "").strip()) != VERSION:
            raise UserError(f"{path}: is of version {version!r}; export it from CVAT as 'CVAT for images 1.1'")
        if root.find("track") is not None:
            raise UserError(f"{path}: holds tracks of a video; export it from CVAT as 'CVAT for images 1.1'")
        # A label with a parent is a point of a skeleton.
        described = [label for label in root.iterfind("meta//labels/label") if label.find("parent") is None]
        labels |= dict.fromkeys(name for label in described if (name := label.findtext("name")))
    return Annotations(tuple(labels), _images(files, options))


def _is_cvat(path: Path) -> bool:
    return read_xml(path).tag == "annotations"


def _images(files: list[Path], options: Options) -> Iterator[Annotated]:
    for path in files:
        for element in read_xml(path).iterfind("image"):
            name, subset = element.get("name", ""), element.get("subset", "")
            image = _find_image(name, subset, path, options)
            size = size_of(image)
            where = f"{path}: image {name!r}"
            stated = tuple(int(_number(element, key, where)) for key in ("height", "width"))
            if stated != size:
                raise UserError(
                    f"{where}: was annotated with {stated[1]} x {stated[0]} pixels, {image} has {size[1]} x {size[0]}; give the image "
                    "that was annotated"
                )
            objects = [
                one for number, shape in enumerate(element, 1) if (one := _object(shape, number, where, size, options))
            ]
            yield Annotated(image, 0, size, tuple(objects) if len(element) else None, split_of([subset]))


def _find_image(name: str, subset: str, file: Path, options: Options) -> Path:
    """Returns the file of an image: beside the XML, or in the folder images/ that CVAT writes beside it."""
    if not options.images:
        for folder in ("images", f"images/{subset}"):
            if name and (path := file.parent / folder / name).is_file():
                return path
    return find_image(name, file, options)


def _object(shape: Element, number: int, where: str, size: tuple[int, int], options: Options) -> Object | None:
    label = shape.get("label", "")
    name = f"{where}: shape {number}, a {shape.tag} {label!r}"
    if shape.tag in NO_SHAPES:
        if options.no_area == "error":
            raise UserError(f"{name}: covers no stated pixels; remove it, or set --no_area=skip")
        options.on_note(f"{name}: is passed over")
        return None
    if shape.tag not in SHAPES:
        raise UserError(f"{name}: is not read ({', '.join(SHAPES)} are); remove it or draw it as a polygon")
    if not label:
        raise UserError(f"{name}: has no label; export it again")
    order = _number(shape, "z_order", name) if "z_order" in shape.attrib else 0
    return Object(label, SHAPES[shape.tag](shape, name, size, options), order)


def _polygon(shape: Element, name: str, size: tuple[int, int], options: Options) -> Crop:
    pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
    return polygons.fill([polygons.to_ring(pairs, name)], size, options.polygon_points)


def _box(shape: Element, name: str, size: tuple[int, int], options: Options) -> Crop:
    left, top, right, bottom = (_number(shape, key, name) for key in ("xtl", "ytl", "xbr", "ybr"))
    corners = shapes.box_ring(left, top, right, bottom, _turn(shape, name))
    return polygons.fill([polygons.to_ring(corners, name)], size)


def _ellipse(shape: Element, name: str, size: tuple[int, int], options: Options) -> Crop:
    x, y, x_radius, y_radius = (_number(shape, key, name) for key in ("cx", "cy", "rx", "ry"))
    return shapes.fill_ellipse(x, y, x_radius, y_radius, size, _turn(shape, name), name)


def _mask(shape: Element, name: str, size: tuple[int, int], options: Options) -> Crop:
    """Returns the pixels of run lengths along the rows of a box, the first of which is outside."""
    left, top, width, height = (int(_number(shape, key, name)) for key in ("left", "top", "width", "height"))
    try:
        runs = np.array([int(run) for run in shape.get("rle", "").split(",")])
    except ValueError:
        raise UserError(f"{name}: its rle is not whole numbers; export it again") from None
    if min(width, height) < 1 or runs.min() < 0 or sum(runs.tolist()) != width * height:
        raise UserError(
            f"{name}: its run lengths sum to {sum(runs.tolist())}, its box has {width} x {height} pixels; export it again"
        )
    if left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
        raise UserError(
            f"{name}: its box {left}, {top}, {width} x {height} leaves the image; give the image that was annotated"
        )
    mask = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
    return crops.from_mask(mask, size, top, left)


SHAPES = {"polygon": _polygon, "box": _box, "ellipse": _ellipse, "mask": _mask}


def _turn(shape: Element, name: str) -> float:
    """Returns the angle of a shape about its centre, in degrees, clockwise."""
    return _number(shape, "rotation", name) if "rotation" in shape.attrib else 0.0


def _number(element: Element, key: str, name: str) -> float:
    try:
        number = float(element.get(key, ""))
    except ValueError:
        number = math.nan
    if not abs(number) < polygons.LARGEST:
        raise UserError(f"{name}: its {key} {element.get(key)!r} is not a number of pixels; export it again")
    return number
