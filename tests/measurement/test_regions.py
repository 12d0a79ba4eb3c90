"""The measurements are those of scikit-image, and bands change none of them by a bit."""

import numpy as np
import pytest
import skimage.measure
from helpers.blobs import blobs, label_in_bands, spiral, whole

from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.errors import UserError
from unet_jax.inference.large import scratch
from unet_jax.measurement.components import Labels
from unet_jax.measurement.convex_hull import convex_area
from unet_jax.measurement.regions import measure

NAMES = (
    "label",
    "area",
    "centroid",
    "bbox",
    "equivalent_diameter_area",
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "perimeter",
    "area_convex",
    "solidity",
    "intensity_mean",
    "intensity_min",
    "intensity_max",
)


def pixels(shape, seed=0, dtype=np.uint16):
    values = np.random.default_rng(seed).integers(0, 60000, shape)
    return values.astype(dtype) if dtype != np.float32 else (values / 7).astype(np.float32)


@pytest.mark.parametrize("sigma", [0, 1, 3])
@pytest.mark.parametrize("connectivity", [1, 2])
def test_columns_are_those_of_scikit_image(sigma, connectivity):
    labels = label_in_bands(blobs(1, sigma=sigma), connectivity, 7)
    image = pixels((60, 50))
    columns = measure(labels, ArrayRows(image))
    expected = skimage.measure.regionprops_table(whole(labels).astype(np.int32), image, properties=NAMES)
    for name, values in expected.items():
        np.testing.assert_allclose(columns[name], values, rtol=1e-9, atol=3e-7, err_msg=name)
    assert set(columns) == {*expected, "orientation", "touches_border"}


def test_orientation_is_that_of_scikit_image():
    # A round object has none, so these are long.
    labels = label_in_bands(blobs(2, sigma=2), 1, 7)
    columns = measure(labels)
    regions = skimage.measure.regionprops(whole(labels).astype(np.int32))
    long = columns["eccentricity"] > 0.3
    assert long.sum() > 5
    np.testing.assert_allclose(
        columns["orientation"][long], np.array([r.orientation for r in regions])[long], atol=1e-9
    )
    for mask, expected in ((np.eye(5), np.pi / 4), (np.eye(5)[::-1], -np.pi / 4), (np.ones((3, 3)), -np.pi / 4)):
        assert measure(Labels.of(mask > 0))["orientation"] == expected


def test_colours_are_columns_by_their_numbers():
    labels, image = label_in_bands(blobs(1), 2, 7), pixels((60, 50, 3), dtype=np.uint8)
    columns = measure(labels, ArrayRows(image))
    expected = skimage.measure.regionprops_table(whole(labels).astype(np.int32), image, properties=["intensity_mean"])
    assert list(expected) == ["intensity_mean-0", "intensity_mean-1", "intensity_mean-2"]
    for name, values in expected.items():
        np.testing.assert_allclose(columns[name], values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_change_no_bit(monkeypatch, dtype):
    mask, image = blobs(3, sigma=1, share=0.6) | np.pad(spiral(), ((0, 19), (0, 9))), pixels((60, 50), dtype=dtype)
    expected = measure(label_in_bands(mask, 2, 60), ArrayRows(image))
    for band_bytes, rows in ((1, 1), (64 * 50 * 2, 3), (64 * 50 * 7, 11)):
        monkeypatch.setattr(scratch, "BAND_BYTES", band_bytes)
        columns = measure(label_in_bands(mask, 2, rows), ArrayRows(image))
        for name, values in expected.items():
            np.testing.assert_array_equal(columns[name], values, err_msg=name)


def test_small_cases_by_hand():
    labels = Labels.of(np.array([[1, 0, 0, 0], [0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 0, 0]]))
    columns = measure(labels, ArrayRows(np.arange(16, dtype=np.uint8).reshape(4, 4)))
    assert columns["area"].tolist() == [1, 4]
    assert columns["centroid-0"].tolist() == [0, 1.5]
    assert columns["centroid-1"].tolist() == [0, 2.5]
    assert [columns[f"bbox-{side}"].tolist() for side in range(4)] == [[0, 1], [0, 2], [1, 3], [1, 4]]
    assert columns["touches_border"].tolist() == [1, 1]
    assert columns["axis_major_length"].tolist() == [0, 2]
    assert columns["eccentricity"].tolist() == [0, 0]
    assert columns["perimeter"].tolist() == [0, 4]
    assert columns["solidity"].tolist() == [1, 1]
    assert columns["intensity_mean"].tolist() == [0, 8.5]
    assert columns["intensity_max"].tolist() == [0, 11]


def test_an_object_inside_touches_no_border():
    mask = np.zeros((5, 5), bool)
    mask[1:4, 1:4] = True
    assert measure(Labels.of(mask))["touches_border"].tolist() == [0]


def test_an_image_without_objects_has_the_same_columns():
    empty = measure(Labels.of(np.zeros((4, 4))), ArrayRows(pixels((4, 4))))
    assert all(len(values) == 0 for values in empty.values())
    assert set(empty) == set(measure(Labels.of(np.eye(4)), ArrayRows(pixels((4, 4)))))


def test_an_object_far_from_the_first_pixel_keeps_its_axes():
    """Sums of squares of large coordinates would lose what small objects differ in."""
    near, far = np.zeros((12, 12)), np.zeros((12, 60000))
    near[3:6, 2:9] = far[3:6, 59000:59007] = 1
    for name in ("axis_major_length", "axis_minor_length", "orientation", "eccentricity"):
        assert measure(Labels.of(near))[name] == measure(Labels.of(far))[name]


def test_an_image_beyond_the_sums_is_refused():
    class Huge:
        shape = (200_000, 200_000)

    with pytest.raises(UserError, match="200000 x 200000 pixels is too large to be measured"):
        measure(Huge())


@pytest.mark.parametrize("seed", range(5))
def test_the_convex_area_of_long_and_thin_objects(seed):
    rng = np.random.default_rng(seed)
    columns = np.cumsum(rng.integers(-3, 4, 12)) + 40
    first, last = columns, columns + rng.integers(0, 6, 12)
    mask = np.zeros((12, 90), bool)
    for row in range(12):
        mask[row, first[row] : last[row] + 1] = True
    assert convex_area(first, last) == skimage.measure.regionprops(mask.astype(int))[0].area_convex
