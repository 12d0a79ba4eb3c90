"""The options by which masks become objects."""

import numpy as np
import pytest
import scipy.ndimage
import skimage.measure
from helpers.blobs import blobs, find, label_in_bands, whole

from unet_jax.errors import UserError
from unet_jax.evaluation.border_objects import grow, growth
from unet_jax.measurement.components import band_rows
from unet_jax.measurement.objects import ObjectFinder, Options


def test_masks_may_overlap_and_each_class_has_its_own_objects():
    masks = np.stack([blobs(1), blobs(2)], -1)
    assert (masks[..., 0] & masks[..., 1]).any()
    for labels, mask in zip(find(masks, Options()), np.moveaxis(masks, -1, 0), strict=True):
        np.testing.assert_array_equal(whole(labels), skimage.measure.label(mask, connectivity=2))


@pytest.mark.parametrize("split", ["", "distance"])
def test_options_are_done_in_order_and_bands_change_nothing(split):
    mask = blobs(6, sigma=1.5, share=0.6)
    options = Options(connectivity=1, fill_holes=True, split=split, min_area=20)
    found = [whole(find(mask[..., None], options, rows)[0]) for rows in (1, 7, 60)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    filled = scipy.ndimage.binary_fill_holes(mask, np.ones((3, 3)))
    if not split:
        components = skimage.measure.label(filled, connectivity=1)
        large = np.bincount(components.ravel()) >= 20
        large[0] = False
        np.testing.assert_array_equal(found[0], np.where(large, np.cumsum(large), 0)[components])
        assert large.sum() < components.max()
    assert np.bincount(found[0].ravel())[1:].min() >= 20
    assert not (found[0] > 0)[~filled].any()


def test_the_smallest_area_is_kept():
    mask = np.array([[1, 0, 1, 1, 0, 1, 1, 1]], bool)[..., None]
    assert [find(mask, Options(min_area=area))[0].count for area in (0, 1, 2, 3, 4)] == [3, 3, 2, 1, 0]


def test_probabilities_split_each_class():
    masks = np.ones((5, 9, 2), bool)
    probabilities = np.full(masks.shape, 0.9, np.float32)
    probabilities[:, 4, 1] = 0.6
    options = Options(split="probability")
    for rows in (1, 5):
        assert [labels.count for labels in find(masks, options, rows, probabilities)] == [1, 2]
    with pytest.raises(UserError, match="--split=probability: true masks have no probabilities"):
        find(masks, options)


@pytest.mark.parametrize("rows", [1, 5, 60])
def test_interiors_grow_alike_in_bands(rows, monkeypatch):
    """The grown objects are those of the whole image, numbered anew by their first pixels, and small ones are then dropped."""
    interior, ground = blobs(3, share=0.25), blobs(3, share=0.6)
    monkeypatch.setattr(
        "unet_jax.measurement.components.band_rows", lambda height, _: band_rows(height, (16 << 20) // rows)
    )
    finder = ObjectFinder(interior.shape, 1, Options(min_area=30), border_width=2.0)
    for start in range(0, len(interior), rows):
        band = slice(start, start + rows)
        finder.add(start, interior[band, :, None], ground=ground[band])
    found = whole(finder.finish()[0])
    expected = grow(skimage.measure.label(interior, connectivity=2), ground, growth(2.0))
    areas = np.bincount(expected.ravel())
    expected[areas[expected] < 30] = 0
    assert 1 < len(np.unique(expected)) - 1 < (areas > 0).sum() - 1
    np.testing.assert_array_equal(found > 0, expected > 0)
    numbers, places = np.unique(expected, return_index=True)
    in_order = numbers[np.argsort(places)]
    for number, old in enumerate(in_order[in_order > 0], 1):
        np.testing.assert_array_equal(found == number, expected == old)


def test_a_split_above_the_memory_is_refused_before_anything_is_found():
    masks = np.ones((50, 50, 1), bool)
    with pytest.raises(UserError, match="--split: an image of 50 x 50"):
        find(masks, Options(split="distance"), budget=1000)
    assert find(masks, Options(), budget=1000)[0].count == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connectivity": 8}, "--connectivity=8: give 1"),
        ({"split": "height"}, "--split=height is unknown; give one of distance, probability"),
        ({"split": "distance", "split_depth": -1.0}, "--split_depth=-1.0: give a number above 0"),
        ({"split_depth": 2.0}, "--split_depth=2.0: nothing is split"),
        ({"split": "probability", "split_depth": 2.0}, "--split_depth=2: a probability is at most 1"),
        ({"min_area": -1}, "--min_area=-1"),
    ],
)
def test_options_that_are_not_allowed(options, message):
    with pytest.raises(UserError, match=message):
        Options(**options)


def test_the_objects_of_one_class_are_the_components():
    mask = blobs(7)
    np.testing.assert_array_equal(whole(find(mask[..., None], Options())[0]), whole(label_in_bands(mask, 2, 5)))
