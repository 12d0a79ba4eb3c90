"""Connected components in bands are those of the whole image."""

import numpy as np
import pytest
import scipy.ndimage
import skimage.measure
from helpers.blobs import blobs, label_in_bands, spiral, whole

from unet_jax.inference.large import scratch
from unet_jax.measurement.components import Labels, fill_holes


@pytest.mark.parametrize("connectivity", [1, 2])
@pytest.mark.parametrize("rows", [1, 2, 7, 60, 100])
@pytest.mark.parametrize("sigma", [0, 2])
def test_bands_give_the_components_of_the_whole(connectivity, rows, sigma):
    mask = blobs(1, sigma=sigma)
    labels = label_in_bands(mask, connectivity, rows)
    expected = skimage.measure.label(mask, connectivity=connectivity)
    np.testing.assert_array_equal(whole(labels), expected)
    np.testing.assert_array_equal(labels.areas, np.bincount(expected.ravel())[1:])


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_spiral_is_one_object(rows):
    assert label_in_bands(spiral(), 1, rows).count == 1


def test_corners_connect_across_bands_at_connectivity_2_alone():
    for mask in (np.eye(4, dtype=bool), np.eye(4, dtype=bool)[:, ::-1]):
        assert [label_in_bands(mask, connectivity, 1).count for connectivity in (1, 2)] == [4, 1]


def test_an_image_without_objects_and_one_that_is_an_object():
    for value in (False, True):
        labels = label_in_bands(np.full((5, 4), value), 1, 2)
        assert labels.count == int(value)
        assert labels.areas.tolist() == [20] * value
        assert (whole(labels) == value).all()


@pytest.mark.parametrize("connectivity", [1, 2])
@pytest.mark.parametrize("rows", [1, 7, 60])
def test_holes_are_those_of_scipy(connectivity, rows):
    mask = blobs(3, sigma=1, share=0.6)
    filled = fill_holes(label_in_bands(~mask, 3 - connectivity, rows), connectivity)
    # The background of an object whose corners connect is connected by edges.
    structure = scipy.ndimage.generate_binary_structure(2, 3 - connectivity)
    expected = scipy.ndimage.binary_fill_holes(mask, structure)
    assert (expected & ~mask).any()
    np.testing.assert_array_equal(whole(filled) > 0, expected)


def test_kept_objects_are_numbered_anew():
    labels = Labels.of(np.array([[5, 0, 3], [5, 9, 9]]))
    assert whole(labels).tolist() == [[1, 0, 2], [1, 3, 3]]
    kept = labels.keep(np.array([True, False, True]))
    assert whole(kept).tolist() == [[1, 0, 0], [1, 2, 2]]
    assert (kept.count, kept.areas.tolist()) == (2, [2, 2])
    assert whole(kept.keep(np.array([False, True]))).tolist() == [[0, 0, 0], [0, 1, 1]]


def test_numbers_that_are_kept_in_a_file_are_the_same(monkeypatch):
    mask = blobs(4)
    expected = whole(label_in_bands(mask, 2, 9))
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 0)
    np.testing.assert_array_equal(whole(label_in_bands(mask, 2, 9)), expected)
