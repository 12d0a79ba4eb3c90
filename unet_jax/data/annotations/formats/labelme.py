"""Reads LabelMe JSON, one file an image, of the versions 5 to 7.

Polygons, rectangles, oriented rectangles, circles and masks have an area; points and lines have none. Shapes of one label with
the same `group_id` are one object. Later shapes win. LabelMe's own tool also covers the pixels under an outline.
"""

import base64
import binascii
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from unet_jax.data.annotations import crops, polygons
from unet_jax.data.annotations.objects import Annotated, Annotations, Crop, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.source import Source, find_image, read_json, size_of
from unet_jax.data.datasets import listing
from unet_jax.errors import UserError

WITHOUT_AREA = ("point", "line", "linestrip", "points")
# Number of points of each shape that is not a polygon.
POINTS = {"rectangle": 2, "circle": 2, "oriented_rectangle": 4, "mask": 2}
CORRECT = "correct it in LabelMe, or remove the shape"


def recognise(source: Source) -> bool:
    """Returns True if a JSON file of the source holds `shapes` and `imagePath`."""
    return any(_is_labelme(read_json(path)) for path in source.ending(".json"))


def read(source: Source, options: Options) -> Annotations:
    """Returns the annotations of all LabelMe files of a source; the labels are sorted.

    A file without shapes says that its image holds no object. In a folder, an image without a file is one of which the source
    says nothing.

    Raises:
      UserError: something is wrong; the line names file and shape.
    """
    files = [path for path in source.ending(".json") if _is_labelme(read_json(path))]
    if not files:
        raise UserError(f"{source.path}: holds no LabelMe file, a JSON object of shapes and imagePath")
    labels = {str(shape.get("label")) for path in files for shape in _shapes(path)}
    return Annotations(tuple(sorted(labels)), _read_files(source, files, options))


def _is_labelme(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("shapes"), list) and "imagePath" in value


def _shapes(path: Path) -> list[dict]:
    shapes = read_json(path)["shapes"]
    for number, shape in enumerate(shapes, 1):
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str) or not shape["label"]:
            raise UserError(f"{path}: shape {number} has no label; {CORRECT}")
    return shapes


def _read_files(source: Source, files: list[Path], options: Options) -> Iterator[Annotated]:
    skipped = 0
    annotated = set()
    for count, path in enumerate(files):
        image = _find_image(path, count, options)
        annotated.add(image.resolve())
        size = size_of(image)
        grouped: dict[Any, list[tuple[str, Crop]]] = {}
        for number, shape in enumerate(_shapes(path), 1):
            name = f"{path}: shape {number} ({shape['label']!r})"
            kind = shape.get("shape_type") or "polygon"
            if kind in WITHOUT_AREA:
                if options.no_area == "error":
                    raise UserError(f"{name}: is a {kind}, which has no area; draw a polygon, or set --no_area=skip")
                skipped += 1
                continue
            group = shape.get("group_id")
            if not isinstance(group, int | float | str | None) or not isinstance(kind, str):
                raise UserError(
                    f"{name}: its group_id {group!r} or shape_type {kind!r} is a list or an object; {CORRECT}"
                )
            key = ("alone", number) if group is None else (shape["label"], group)
            # A group lies where its last shape lies.
            grouped[key] = [*grouped.pop(key, []), (shape["label"], _crop(shape, kind, name, size, options))]
        objects = [Object(parts[0][0], crops.union([crop for _, crop in parts])) for parts in grouped.values()]
        yield Annotated(image, 0, size, tuple(objects))
    for image in _images_beside(source, options):
        if image.resolve() not in annotated:
            yield Annotated(image, 0, size_of(image), None)
    if skipped:
        options.on_note(f"{skipped} points and lines were passed over")


def _images_beside(source: Source, options: Options) -> list[Path]:
    """Returns the image files in a folder of annotations, or in `options.images`."""
    if source.path.is_file():
        return []
    files = sorted(Path(options.images).iterdir()) if options.images else source.files
    return [path for path in files if path.suffix.lower() in listing.SUFFIXES]


def _find_image(path: Path, number: int, options: Options) -> Path:
    """Returns the image file of an annotation; if it is missing, that of `imageData`, written into `options.scratch`."""
    value = read_json(path)
    name, data = str(value["imagePath"]), value.get("imageData")
    try:
        return find_image(name, path, options)
    except UserError:
        if not data or not options.scratch:
            raise
    folder = Path(options.scratch) / str(number)
    folder.mkdir()
    image = folder / PurePosixPath(name.replace("\\", "/")).name
    image.write_bytes(_base64(data, f"{path}: imageData"))
    return image


def _crop(shape: dict, kind: str, name: str, size: tuple[int, int], options: Options) -> Crop:
    points = shape.get("points")
    if kind != "polygon":
        if kind not in POINTS:
            raise UserError(f"{name}: its shape_type {kind!r} is unknown (polygon, {', '.join(POINTS)}); {CORRECT}")
        try:
            corners = np.asarray(points, np.float64)
        except (TypeError, ValueError):
            corners = np.zeros(0)
        if corners.shape != (POINTS[kind], 2) or not (np.abs(corners) < polygons.LARGEST).all():
            raise UserError(f"{name}: a {kind} has {POINTS[kind]} points in the image, not {points}; {CORRECT}")
        if kind == "mask":
            return _mask(shape, corners, name, size)
        if kind == "circle":
            return _circle(corners[0], corners[1], size)
        if kind == "rectangle":
            (left, top), (right, bottom) = corners
            points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return polygons.fill([polygons.to_ring(points, name)], size, options.polygon_points)


def _circle(centre: np.ndarray, rim: np.ndarray, size: tuple[int, int]) -> Crop:
    """Returns the pixels whose centres are at most as far from `centre` as `rim` is."""
    radius = math.dist(centre, rim)
    left, top = np.maximum(np.floor(centre - radius), 0).astype(int)
    right, bottom = np.minimum(np.ceil(centre + radius), size[::-1]).astype(int)
    rows, columns = np.ogrid[top : max(top, bottom), left : max(left, right)]
    inside = (columns + 0.5 - centre[0]) ** 2 + (rows + 0.5 - centre[1]) ** 2 <= radius**2
    return crops.from_mask(inside, size, int(top), int(left))


def _mask(shape: dict, corners: np.ndarray, name: str, size: tuple[int, int]) -> Crop:
    """Returns the pixels of a PNG whose upper left corner lies in the first pixel of the shape."""
    data = np.frombuffer(_base64(shape.get("mask"), f"{name}: its mask"), np.uint8)
    mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if mask is None or mask.ndim != 2:
        raise UserError(f"{name}: its mask is no grey PNG; {CORRECT}")
    (left, top), (right, bottom) = np.rint(corners).astype(int).tolist()
    box = (bottom - top + 1, right - left + 1)
    if max(abs(a - b) for a, b in zip(box, mask.shape, strict=True)) > 1:
        raise UserError(f"{name}: its mask has {mask.shape} pixels (height, width), its points span {box}; {CORRECT}")
    return crops.from_mask(mask, size, top, left)


def _base64(text: Any, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise UserError(f"{name} is not base64 ({error}); {CORRECT}") from error
