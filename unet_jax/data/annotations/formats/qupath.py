"""Reads GeoJSON of QuPath 0.4 to 0.8, and that of `unet-jax measure`.

A file belongs to the image of the same name: `a.geojson` or `a.tif.geojson` to `a.tif`. Coordinates are pixels of full size.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unet_jax.data.annotations import crops, polygons
from unet_jax.data.annotations.objects import Annotated, Annotations, Crop, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.pairing import pair
from unet_jax.data.annotations.planes import Planes
from unet_jax.data.annotations.source import Source, read_json, size_of
from unet_jax.errors import UserError

SUFFIXES = (".geojson", ".json")
WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
# Kinds of objects that only divide a slide. Without a class they say nothing about the pixels.
FRAMES = ("tile", "tma_core", "root")


def recognise(source: Source) -> bool:
    """Returns True if a source holds GeoJSON: a `.geojson` file, or a `.json` file of features."""
    return any(path.suffix.lower() == ".geojson" or _is_geojson(read_json(path)) for path in _first_of_each(source))


def read(source: Source, options: Options) -> Annotations:
    """Returns the images of the files, and the images beside them that have none.

    Raises:
      UserError: a file belongs to no image, or to an image that has another one. Reading the images raises it for a file or an
        object that cannot be read.
    """
    return Annotations((), _images(pair(source.ending(*SUFFIXES), options), options))


def _first_of_each(source: Source) -> list[Path]:
    return [files[0] for suffix in SUFFIXES if (files := source.ending(suffix))]


def _is_geojson(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and _is_geojson(value[0])
    return isinstance(value, dict) and value.get("type") in ("FeatureCollection", "Feature")


def _images(owners: dict[Path, Path | None], options: Options) -> Iterator[Annotated]:
    for image, file in owners.items():
        if file is None:
            yield Annotated(image, 0, size_of(image), None)
            continue
        planes = Planes(image)
        features = list(_features(read_json(file), str(file)))
        pages: dict[int, list[Object]] = {} if features else {0: []}
        for name, feature in features:
            label = _label(name, feature, options)
            geometry = _geometry(name, feature, options) if label else None
            if geometry is None:
                continue
            for page in _pages(name, geometry, planes):
                crop = _fill(name, geometry, planes.sizes[page], options)
                pages.setdefault(page, []).append(Object(label, crop))
        for page in sorted(pages or {0: []}):
            yield Annotated(image, page, planes.sizes[page], tuple(pages.get(page, ())))


def _features(value: Any, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the features of a file, each followed by those inside it, and names them by their numbers."""
    numbers = itertools.count(1)

    def walk(items: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if not isinstance(items, list):
            raise UserError(f"{file}: its features are not a list; export it again from QuPath as GeoJSON")
        for item in items:
            name = f"{file}: feature {next(numbers)}"
            if not isinstance(item, dict) or item.get("type") != "Feature":
                raise UserError(f"{name}: is no GeoJSON Feature; export it again from QuPath as GeoJSON")
            yield name, item
            properties = _dict(item, "properties", name)
            yield from walk(properties.get("childObjects") or item.get("childObjects") or [])

    if isinstance(value, dict):
        value = value.get("features") if value.get("type") == "FeatureCollection" else [value]
    return walk(value)


def _label(name: str, feature: dict[str, Any], options: Options) -> str:
    """Returns the class of a feature; "" for one that is passed over."""
    properties = _dict(feature, "properties", name)
    classification = _dict(properties, "classification", name)
    # A class derived from another, such as "Tumor: Positive", has a list of names.
    names = classification.get("names") or [classification.get("name") or ""]
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise UserError(f"{name}: its class {names!r} is not text; give it another class in QuPath")
    if any(names):
        return ": ".join(names)
    kind = properties.get("objectType", feature.get("id"))
    if kind in FRAMES:
        options.on_note(f"{name}: is of the type {kind} and has no class; it is passed over")
        return ""
    if not options.label:
        raise UserError(f"{name}: has no class; give it one in QuPath, or give all objects without class --label=NAME")
    return options.label


def _geometry(name: str, feature: dict[str, Any], options: Options) -> dict[str, Any] | None:
    """Returns the outline that is asked for; None for an object that is passed over."""
    geometry = _dict(feature, "geometry", name)
    is_cell = _dict(feature, "properties", name).get("objectType") == "cell"
    if options.outline == "nucleus" and is_cell:
        geometry = _dict(feature, "nucleusGeometry", name)
        if not geometry:
            options.on_note(f"{name}: is a cell without nucleus and is passed over")
            return None
    kind = geometry.get("type")
    if kind in WITHOUT_AREA:
        if options.no_area == "error":
            raise UserError(f"{name}: is a {kind}, which covers no pixels; remove it, or set --no_area=skip")
        options.on_note(f"{name}: is a {kind} and is passed over")
        return None
    if kind not in ("Polygon", "MultiPolygon"):
        raise UserError(f"{name}: its geometry {kind!r} is not Polygon or MultiPolygon; convert it in QuPath")
    return geometry


def _pages(name: str, geometry: dict[str, Any], planes: Planes) -> list[int]:
    """Returns the pages of the plane of an outline, whose numbers count from 0; without a plane it is the first."""
    plane = _dict(geometry, "plane", name)
    z, t = plane.get("z", 0), plane.get("t", 0)
    if not isinstance(z, int) or not isinstance(t, int) or min(z, t) < 0:
        raise UserError(f"{name}: its plane z {z!r}, t {t!r} is not two whole numbers from 0; export it again")
    return planes.pages(z + 1, t + 1, name)


def _fill(name: str, geometry: dict[str, Any], size: tuple[int, int], options: Options) -> Crop:
    """Returns the pixels of all polygons together, each without its holes."""
    parts = geometry.get("coordinates")
    parts = [parts] if geometry["type"] == "Polygon" else parts
    if not isinstance(parts, list) or not parts or not all(isinstance(rings, list) and rings for rings in parts):
        raise UserError(f"{name}: has no outline; remove it or export it again")
    corners = [[_open(polygons.to_ring(ring, name)) for ring in rings] for rings in parts]
    return crops.union([polygons.fill(rings, size, options.polygon_points) for rings in corners])


def _open(ring: np.ndarray) -> np.ndarray:
    """Returns a ring without its last point if that is the first one again."""
    return ring[:-1] if (ring[0] == ring[-1]).all() else ring


def _dict(holder: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    """Returns what stands under a key, {} if that is null or absent."""
    value = holder.get(key)
    if value is not None and not isinstance(value, dict):
        raise UserError(
            f"{name}: its {key} {str(value)[:50]!r} is not an object with keys; export it again from QuPath as GeoJSON"
        )
    return value or {}
