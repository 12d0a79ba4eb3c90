"""Distances between contours: by hand, empty and void, and against DeepMind's own code."""

import math

import numpy as np
import pytest
from helpers.label_pairs import mask_pairs
from helpers.oracles import oracle

from unet_jax.evaluation import contours


def square(height=24, width=24, top=6, left=6, size=10):
    mask = np.zeros((height, width), bool)
    mask[top : top + size, left : left + size] = True
    return mask


def test_a_square_moved_by_three_columns():
    """By hand: each side has 9 corners of length 1, and two ends of half a diagonal, which it shares.

    Of the true contour, the left side is 3 away. The right side is inside the other square: its corners are 1, 2, 3, 3, 3, 3, 3, 2 and 1
    away, and its ends 0. Top and bottom: two corners are 1 and 2 away, seven 0.
    """
    moved = contours.measure(square(), np.roll(square(), 3, axis=1))
    end = math.sqrt(0.5)
    at = {0: 2 * 7 + 2 * end, 1: 2 + 2, 2: 2 + 2, 3: 9 + 2 * end + 5}
    for distance, length in at.items():
        assert moved.true_lengths[moved.true == distance].sum() == pytest.approx(length)
    whole = 36 + 4 * end
    assert sum(at.values()) == pytest.approx(whole)
    np.testing.assert_array_equal(moved.true, moved.predicted)
    assert contours.nsd(moved, 0) == pytest.approx(at[0] / whole)
    assert contours.nsd(moved, 1) == pytest.approx((at[0] + at[1]) / whole)
    assert contours.nsd(moved, 3) == 1
    assert contours.hd95(moved) == 3
    assert contours.hd95(moved, 0.5) == 1
    assert contours.assd(moved) == pytest.approx((at[1] + 2 * at[2] + 3 * at[3]) / whole)


def test_lengths_and_distances_have_the_unit_of_the_spacing():
    true, predicted = square(), square(top=8)
    true[:, 12:], predicted[:, 12:] = False, False
    pixels, units = contours.measure(true, predicted), contours.measure(true, predicted, spacing=(0.5, 0.25))
    assert contours.hd95(pixels) == 2
    # Along the rows.
    assert contours.hd95(units) == 1
    assert units.true_lengths.sum() == pytest.approx(18 * 0.5 + 10 * 0.25 + 4 * math.hypot(0.5, 0.25) / 2)
    doubled = contours.measure(true, predicted, spacing=(2, 2))
    assert contours.assd(doubled) == pytest.approx(2 * contours.assd(pixels))
    assert contours.nsd(doubled, 2.0) == contours.nsd(pixels, 1.0)
    assert contours.diagonal(3, 4) == 5
    assert contours.diagonal(30, 20, (0.1, 0.2)) == pytest.approx(5)


def test_hd95_is_that_of_the_worse_direction():
    """A piece of 3 x 3 pixels is missed, whose contour is 10.8 of 33.7 pixels; its far side is 11 columns away."""
    found = square(left=2, size=6)
    true = found | square(top=6, left=16, size=3)
    assert contours.hd95(contours.measure(true, found)) == contours.hd95(contours.measure(found, true)) == 11
    # More than half of either contour is on the other.
    assert contours.hd95(contours.measure(true, found), 0.5) == 0


def test_nothing_found_is_bad_and_nothing_at_all_is_left_out():
    one, empty = square(), np.zeros((24, 24), bool)
    for pair in ((one, empty), (empty, one)):
        apart = contours.measure(*pair)
        assert contours.nsd(apart, 5) == 0
        assert contours.hd95(apart) == contours.assd(apart) == math.inf
    nothing = contours.measure(empty, empty)
    assert all(
        math.isnan(value) for value in (contours.nsd(nothing, 5), contours.hd95(nothing), contours.assd(nothing))
    )
    np.testing.assert_array_equal(contours.finite([2.0, math.inf, math.nan], [34, 35, 36]), [2, 35, math.nan])
    # No distance in an image is larger than the diagonal.
    far = np.zeros((2, 24, 24), bool)
    far[0, 0, 0], far[1, -1, -1] = True, True
    assert contours.hd95(contours.measure(*far)) < contours.diagonal(24, 24)


def test_nsd_adds_up_over_images():
    pairs = [(square(), square(top=7)), (square(), np.zeros((24, 24), bool)), (square(size=3), square(size=4))]
    near, whole = np.sum([contours.nsd_lengths(contours.measure(*pair), 1) for pair in pairs], 0)
    values = [contours.nsd(contours.measure(*pair), 1) for pair in pairs]
    lengths = [sum(mask.any() and contours.measure(mask, mask).true_lengths.sum() for mask in pair) for pair in pairs]
    assert near / whole == pytest.approx(np.average(values, weights=lengths))
    assert 0 < near / whole < 1


def test_the_contour_at_void_is_not_counted():
    true, predicted = square(), square(left=9)
    valid = np.ones((24, 24), bool)
    whole = contours.measure(true, predicted, valid)
    np.testing.assert_array_equal(whole.true, contours.measure(true, predicted).true)
    # The two squares differ in columns 6-8 and 16-18 only.
    valid[:, :9], valid[:, 16:] = False, False
    rest = contours.measure(true, predicted, valid)
    assert contours.hd95(rest) == contours.assd(rest) == 0
    # Two sides, without the corners at void.
    assert rest.true_lengths.sum() == rest.predicted_lengths.sum() == 2 * 6
    hidden = contours.measure(true, predicted, np.zeros((24, 24), bool))
    assert math.isnan(contours.hd95(hidden))


def test_the_image_ends_a_mask():
    full, left = np.ones((8, 8), bool), square(8, 8, 0, 0, 8)
    left[:, 5:] = False
    assert contours.measure(full, full).true_lengths.sum() == pytest.approx(4 * 7 + 4 * math.sqrt(0.5))
    assert contours.hd95(contours.measure(full, left)) == 3


@pytest.mark.filterwarnings("ignore:Please import .* from the `scipy.ndimage` namespace:DeprecationWarning")
def test_a_thousand_pairs_give_what_deepmind_gives():
    theirs = oracle("surface_distance")
    rng = np.random.default_rng(0)
    for number, (true, predicted) in enumerate(mask_pairs(1000)):
        spacing = (1.0, 1.0) if number % 2 else tuple(rng.uniform(0.2, 3, 2))
        tolerance = spacing[0] * rng.integers(0, 4)
        ours = contours.measure(true, predicted, spacing=spacing)
        expected = theirs.compute_surface_distances(true, predicted, spacing)
        np.testing.assert_array_equal(ours.true, expected["distances_gt_to_pred"])
        np.testing.assert_array_equal(ours.predicted, expected["distances_pred_to_gt"])
        np.testing.assert_array_equal(ours.true_lengths, expected["surfel_areas_gt"])
        np.testing.assert_array_equal(ours.predicted_lengths, expected["surfel_areas_pred"])
        assert contours.hd95(ours) == theirs.compute_robust_hausdorff(expected, 95)
        nsd = theirs.compute_surface_dice_at_tolerance(expected, tolerance)
        assert contours.nsd(ours, tolerance) == pytest.approx(nsd, abs=1e-12)
        # It gives both directions; ours weights them by their lengths.
        means = theirs.compute_average_surface_distance(expected)
        weights = [ours.true_lengths.sum(), ours.predicted_lengths.sum()]
        assert contours.assd(ours) == pytest.approx(np.average(means, weights=weights))
