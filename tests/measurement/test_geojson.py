"""GeoJSON of outlines, as QuPath takes it."""

import json

import numpy as np
import pytest

from unet_jax.measurement.components import Labels
from unet_jax.measurement.geojson import GeoJsonFile, feature
from unet_jax.measurement.outlines import trace


def write(path, array):
    labels = Labels.of(array)
    with GeoJsonFile(path) as file:
        for number in range(1, labels.count + 1):
            polygons = trace(labels, number, (0, 0, *labels.shape))
            file.write(feature(polygons, str(number), "anode", (1, 2, 3), {"area": 4.0}))
    return json.loads(path.read_text())


def test_a_collection_of_detections_with_their_classes(tmp_path):
    collection = write(tmp_path / "sub" / "a.geojson", np.array([[1, 0, 2], [0, 1, 0]]))
    assert collection["type"] == "FeatureCollection"
    first, second = collection["features"]
    assert first["type"] == "Feature"
    assert first["geometry"]["type"] == "MultiPolygon"
    assert first["geometry"]["coordinates"][0] == [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]
    assert second["geometry"] == {"type": "Polygon", "coordinates": [[[2, 0], [3, 0], [3, 1], [2, 1], [2, 0]]]}
    assert second["properties"] == {
        "objectType": "detection",
        "name": "2",
        "classification": {"name": "anode", "color": [1, 2, 3]},
        "measurements": {"area": 4.0},
    }


def test_no_object_is_an_empty_collection(tmp_path):
    assert write(tmp_path / "a.geojson", np.zeros((2, 2))) == {"type": "FeatureCollection", "features": []}


def test_an_error_leaves_the_file_of_before(tmp_path):
    write(tmp_path / "a.geojson", np.zeros((2, 2)))
    before = (tmp_path / "a.geojson").read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"), GeoJsonFile(tmp_path / "a.geojson") as file:
        file.write({"value": float("nan")})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.geojson": before}
