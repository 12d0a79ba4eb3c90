"""Objects that touch are split, and others are not."""

import numpy as np
import pytest
import skimage.measure
from helpers.blobs import blobs, whole

from unet_jax.errors import UserError
from unet_jax.measurement.watershed import check_memory, distance_map, split


def discs(centres, radius, size=(40, 60)):
    row, column = np.indices(size)
    return np.any([(row - r) ** 2 + (column - c) ** 2 <= radius**2 for r, c in centres], axis=0)


@pytest.mark.parametrize(
    ("centres", "count"), [(((20, 15), (20, 30)), 2), (((20, 15),), 1), (((10, 15), (10, 32), (25, 23)), 3)]
)
def test_discs_that_touch_are_split(centres, count):
    mask = discs(centres, 9)
    assert skimage.measure.label(mask).max() == 1
    labels = split(mask, distance_map(mask), 1.0, 2)
    assert labels.count == count
    np.testing.assert_array_equal(whole(labels) > 0, mask)
    for number, (row, column) in enumerate(centres, start=1):
        assert whole(labels)[row, column] == number


def test_a_long_object_of_one_width_stays_whole():
    mask = np.zeros((20, 60), bool)
    mask[8:13, 4:50] = True
    assert split(mask, distance_map(mask), 1.0, 2).count == 1


def test_the_depth_of_the_saddle_decides():
    mask = discs(((20, 15), (20, 30)), 9)
    heights = distance_map(mask)
    # Between the discs the mask is 11 pixels high.
    assert [split(mask, heights, depth, 2).count for depth in (1.0, 6.0)] == [2, 1]


@pytest.mark.parametrize("connectivity", [1, 2])
def test_no_component_is_lost_however_deep(connectivity):
    mask = blobs(5, sigma=0, share=0.3)
    labels = split(mask, distance_map(mask), 100.0, connectivity)
    np.testing.assert_array_equal(whole(labels), skimage.measure.label(mask, connectivity=connectivity))


def test_probabilities_that_are_low_between_objects_split_them():
    mask = np.ones((9, 21), bool)
    heights = np.full(mask.shape, 0.9, np.float32)
    heights[:, 10] = 0.55
    labels = split(mask, heights, 0.1, 1)
    assert labels.count == 2
    assert len(np.unique(whole(labels)[:, :10])) == len(np.unique(whole(labels)[:, 11:])) == 1
    assert split(mask, heights, 0.4, 1).count == 1


def test_an_image_that_is_all_mask_or_none():
    full, empty = np.ones((6, 7), bool), np.zeros((6, 7), bool)
    assert split(full, distance_map(full), 1.0, 1).count == 1
    assert split(empty, distance_map(empty), 1.0, 1).count == 0


def test_an_image_that_needs_more_than_the_memory_is_refused():
    check_memory(100, 100, 0, 2**20)
    with pytest.raises(
        UserError, match=r"200 x 100 pixels is split as a whole.*more than --memory=1MiB.*leave --split"
    ):
        check_memory(100, 200, 0, 2**20)
    with pytest.raises(UserError, match="--split"):
        check_memory(100, 100, 3, 2**20)
