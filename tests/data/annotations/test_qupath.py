"""GeoJSON of QuPath: classes, holes, parts, nuclei, planes; the project's own GeoJSON comes back to the pixel."""

import json

import cv2
import numpy as np
import pytest
import tifffile
from helpers.annotated import mask_of, named, painted, read

from unet_jax.errors import UserError
from unet_jax.measurement.components import Labels
from unet_jax.measurement.geojson import GeoJsonFile, feature
from unet_jax.measurement.outlines import trace


def square(first, last):
    return [[first, first], [last, first], [last, last], [first, last], [first, first]]


def polygon(*rings, **more):
    return {"type": "Polygon", "coordinates": list(rings or [square(2, 12)]), **more}


def item(geometry=None, kind="annotation", name="Tumor", **more):
    properties = {"objectType": kind, "classification": {"name": name, "color": [200, 0, 0]}}
    return {"type": "Feature", "id": "1", "geometry": geometry or polygon(), "properties": properties} | more


def unclassified(kind="annotation", **more):
    return item(**more) | {"properties": {"objectType": kind}}


def save(folder, value, file="a.geojson"):
    cv2.imwrite(str(folder / "a.png"), np.zeros((20, 30), np.uint8))
    (folder / file).write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize(
    "wrap", [lambda one: one, lambda one: [one], lambda one: {"type": "FeatureCollection", "features": [one]}]
)
@pytest.mark.parametrize("file", ["a.geojson", "a.json", "a.png.geojson"])
def test_a_file_is_a_feature_a_list_or_a_collection(tmp_path, wrap, file):
    images = read(save(tmp_path, wrap(item()), file))
    assert named(images) == {"a.png": ["Tumor"]}
    assert painted(images)["Tumor"][2:12, 2:12].all()
    assert painted(images)["Tumor"].sum() == 100


def test_inner_rings_are_holes_and_parts_are_one_object(tmp_path):
    parts = {"type": "MultiPolygon", "coordinates": [[square(2, 12), square(4, 6)], [square(13, 15)]]}
    images = read(save(tmp_path, [item(parts)]))
    assert len(images[0].objects) == 1
    mask = painted(images)["Tumor"]
    assert mask.sum() == 100 - 4 + 4
    assert not mask[4:6, 4:6].any()
    assert mask[13:15, 13:15].all()


def test_parts_that_overlap_leave_no_hole(tmp_path):
    parts = {"type": "MultiPolygon", "coordinates": [[square(2, 12)], [square(4, 14)]]}
    assert painted(read(save(tmp_path, [item(parts)])))["Tumor"].sum() == 100 + 100 - 64


def test_a_derived_class_has_several_names(tmp_path):
    derived = item() | {"properties": {"classification": {"names": ["Tumor", "Positive"], "color": [1, 2, 3]}}}
    assert named(read(save(tmp_path, [derived]))) == {"a.png": ["Tumor: Positive"]}


@pytest.mark.parametrize("kind", ["annotation", "detection"])
def test_no_class_is_refused_unless_a_label_is_given(tmp_path, kind):
    save(tmp_path, [item(), unclassified(kind)])
    with pytest.raises(UserError, match=r"a\.geojson: feature 2: has no class; .* --label=NAME"):
        read(tmp_path)
    assert named(read(tmp_path, label="cell")) == {"a.png": ["Tumor", "cell"]}


def test_a_tile_counts_if_it_has_a_class(tmp_path):
    notes = []
    images = read(save(tmp_path, [unclassified("tile"), item(kind="tile")]), label="cell", on_note=notes.append)
    assert named(images) == {"a.png": ["Tumor"]}
    assert notes == [f"{tmp_path}/a.geojson: feature 1: is of the type tile and has no class; it is passed over"]


def test_a_cell_has_two_outlines(tmp_path):
    notes = []
    cell = item(kind="cell", nucleusGeometry=polygon(square(4, 6)))
    save(tmp_path, [cell, item(kind="cell", name="Empty")])
    assert {label: mask.sum() for label, mask in painted(read(tmp_path)).items()} == {"Tumor": 100, "Empty": 100}
    nuclei = painted(read(tmp_path, outline="nucleus", on_note=notes.append))
    assert {label: mask.sum() for label, mask in nuclei.items()} == {"Tumor": 4}
    assert notes == [f"{tmp_path}/a.geojson: feature 2: is a cell without nucleus and is passed over"]


@pytest.mark.parametrize("inside", ["properties", "feature"])
def test_children_come_after_their_parents(tmp_path, inside):
    parent, children = item(name="Region"), [item(name="Tumor"), item(name="Stroma")]
    holder = parent["properties"] if inside == "properties" else parent
    holder["childObjects"] = children
    assert named(read(save(tmp_path, [parent, item(name="Other")]))) == {
        "a.png": ["Region", "Tumor", "Stroma", "Other"]
    }


def test_planes_count_from_zero(tmp_path):
    planes = [item(polygon(plane={"c": -1, "z": z, "t": t})) for z, t in [(0, 0), (2, 1)]]
    (tmp_path / "a.geojson").write_text(json.dumps(planes))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3, 20, 30), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    assert [(image.page, len(image.objects)) for image in read(tmp_path)] == [(0, 1), (5, 1)]
    (tmp_path / "a.geojson").write_text(json.dumps([item(polygon(plane={"c": -1, "z": 3, "t": 0}))]))
    with pytest.raises(UserError, match=r"feature 1: lies on slice 4, frame 1, but a\.tif has slices: 3, frames: 2"):
        read(tmp_path)


def test_no_feature_is_an_image_without_objects(tmp_path):
    images = read(save(tmp_path, {"type": "FeatureCollection", "features": []}))
    assert named(images) == {"a.png": []}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([item({"type": "Point", "coordinates": [1, 2]})], "feature 1: is a Point, which covers no pixels"),
        ([item({"type": "Curve"})], "feature 1: its geometry 'Curve' is not Polygon or MultiPolygon"),
        ([item({"type": "Polygon", "coordinates": []})], "feature 1: has no outline"),
        ([item(polygon([[1, 2], [3, 4]]))], "feature 1: has 2 points, a polygon has at least 3"),
        ([item(), 5], "feature 2: is no GeoJSON Feature"),
        ({"type": "FeatureCollection"}, "its features are not a list"),
        ([item() | {"properties": 3}], "feature 1: its properties '3' is not an object with keys"),
        ([item(name=["a"])], "feature 1: its class .* is not text"),
        ([item(polygon(plane={"z": "1"}))], "feature 1: its plane z '1', t 0 is not two whole numbers"),
    ],
)
def test_faults_name_file_and_feature(tmp_path, value, message):
    with pytest.raises(UserError, match=rf"a\.geojson: {message}"):
        read(save(tmp_path, value))


def test_json_that_is_cut_off_is_refused_with_its_place(tmp_path):
    (save(tmp_path, []) / "a.geojson").write_text('{"type": "Feature",\n "geometry": ')
    with pytest.raises(UserError, match=r"a\.geojson: is not JSON .*line 2 column 14"):
        read(tmp_path)


def test_points_are_passed_over_with_a_note_if_asked(tmp_path):
    notes = []
    save(tmp_path, [item({"type": "MultiPoint", "coordinates": [[1, 2]]}), item()])
    assert named(read(tmp_path, no_area="skip", on_note=notes.append)) == {"a.png": ["Tumor"]}
    assert notes == [f"{tmp_path}/a.geojson: feature 1: is a MultiPoint and is passed over"]


def test_what_measure_writes_gives_the_same_pixels(tmp_path):
    labels = Labels.of(np.random.default_rng(0).integers(0, 4, (20, 30)))
    save(tmp_path, [])
    with GeoJsonFile(tmp_path / "a.geojson") as file:
        for number in (1, 2, 3):
            outlines = trace(labels, number, (0, 0, 20, 30))
            file.write(feature(outlines, str(number), f"class {number}", (1, 2, 3), {"area": 4.0}))
    (image,) = read(tmp_path)
    assert [one.label for one in image.objects] == ["class 1", "class 2", "class 3"]
    for number, one in enumerate(image.objects, 1):
        np.testing.assert_array_equal(mask_of(one, image.size), labels.read(0, 20) == number)
