"""Tables: columns in units, rows of objects and images, and CSV that keeps every number."""

import csv
import io

import numpy as np
from helpers.blobs import blobs, label_in_bands

from unet_jax.measurement.pixel_size import PixelSize
from unet_jax.measurement.regions import measure
from unet_jax.measurement.tables import image_row, in_units, object_rows, to_csv


def test_lengths_and_areas_get_units_and_nothing_else_does():
    columns = measure(label_in_bands(blobs(1), 1, 60))
    extended = in_units(columns, PixelSize(0.5, "um"))
    new = {name: values for name, values in extended.items() if name not in columns}
    lengths = ("centroid-0", "centroid-1", "equivalent_diameter_area", "axis_major_length", "axis_minor_length")
    assert set(new) == {f"{name}_um" for name in (*lengths, "perimeter")} | {"area_um2", "area_convex_um2"}
    np.testing.assert_array_equal(new["perimeter_um"], columns["perimeter"] * 0.5)
    np.testing.assert_array_equal(new["area_um2"], columns["area"] * 0.25)
    assert in_units(columns, None) == columns


def test_numbers_come_back_from_csv_as_they_were():
    columns = measure(label_in_bands(blobs(2, sigma=1), 1, 60))
    rows = object_rows(columns, 'the "anode", left')
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert list(read[0])[:3] == ["label", "class", "area"]
    assert {row["class"] for row in read} == {'the "anode", left'}
    for name, values in columns.items():
        assert [float(row[name]) for row in read] == values.tolist(), name


def test_an_image_without_objects_has_its_row():
    assert image_row((2, 5), {"a": [], "b": [3, 2]}, PixelSize(2, "mm")) == {
        "height": 2,
        "width": 5,
        "count_a": 0,
        "area_a": 0,
        "coverage_a": 0,
        "area_a_mm2": 0,
        "count_b": 2,
        "area_b": 5,
        "coverage_b": 0.5,
        "area_b_mm2": 20,
    }
    assert to_csv([], ["image", "label"]) == "image,label\n"
