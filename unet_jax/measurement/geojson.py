"""Writes the outlines of objects as GeoJSON that QuPath opens, one object at a time.

QuPath takes the file by "File > Import objects". Coordinates are columns and rows of the image at full size, where (0, 0) is the
upper left corner of the first pixel.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from etils.epath import Path

from unet_jax.measurement.outlines import Polygon
from unet_jax.storage.paths import naming, to_path, working_path


def feature(
    polygons: Sequence[Polygon], name: str, class_name: str, colour: Sequence[int], measurements: Mapping[str, float]
) -> dict[str, Any]:
    """Returns an object as a GeoJSON Feature with the properties of QuPath.

    Args:
      polygons: its outline; see `outlines.trace`.
      name: of the object.
      class_name: of its class.
      colour: RGB of the class, 0 to 255.
      measurements: by name.
    """
    closed = [[[list(point) for point in (*ring, ring[0])] for ring in polygon] for polygon in polygons]
    geometry = (
        {"type": "Polygon", "coordinates": closed[0]}
        if len(closed) == 1
        else {"type": "MultiPolygon", "coordinates": closed}
    )
    properties = {
        "objectType": "detection",
        "name": name,
        "classification": {"name": class_name, "color": list(colour)},
        "measurements": dict(measurements),
    }
    return {"type": "Feature", "geometry": geometry, "properties": properties}


class GeoJsonFile:
    """Writes features to a file, which appears under its name when it is whole; a context.

    Args:
      path: the local file; one that exists is replaced.

    Raises:
      OSError: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike):
        self.path: Path = to_path(path)
        self._working = working_path(self.path)
        with naming(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._working, "w", encoding="utf-8")  # noqa: SIM115
        self._separator = '{"type": "FeatureCollection", "features": [\n'

    def write(self, one: Mapping[str, Any]) -> None:
        """Adds a feature."""
        with naming(self.path):
            self._file.write(f"{self._separator}{json.dumps(one, allow_nan=False)}")
        self._separator = ",\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file, naming(self.path):
            if kind is None:
                first = "" if self._separator.startswith(",") else self._separator
                self._file.write(f"{first}\n]}}\n")
        if kind is None:
            os.replace(self._working, self.path)
        else:
            self._working.unlink(missing_ok=True)
