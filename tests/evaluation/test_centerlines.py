"""clDice: lines by hand, empty masks, void, and sums over images."""

import math

import numpy as np
import pytest

from unet_jax.evaluation import centerlines


def line(start=2, stop=18, top=3, bottom=6, gap=()):
    mask = np.zeros((9, 20), bool)
    mask[top:bottom, start:stop] = True
    mask[:, list(gap)] = False
    return mask


def test_too_wide_is_right_and_a_gap_is_not():
    thin, wide = line(top=4, bottom=5), line(top=3, bottom=6)
    assert centerlines.cldice(centerlines.counts(thin, thin)) == 1
    # The skeleton of the wide line turns to a corner at one end.
    widened = centerlines.counts(thin, wide)
    assert widened == {"skeleton_predicted": 15, "predicted_inside": 14, "skeleton_true": 16, "true_inside": 16}
    assert centerlines.cldice(widened) == pytest.approx(2 * 14 / 15 / (1 + 14 / 15))
    assert centerlines.cldice(centerlines.counts(wide, thin)) == centerlines.cldice(widened)
    # 16 pixels of the truth, 12 of them found; all that was predicted is right.
    broken = centerlines.counts(thin, line(top=4, bottom=5, gap=range(8, 12)))
    assert broken == {"skeleton_predicted": 12, "predicted_inside": 12, "skeleton_true": 16, "true_inside": 12}
    assert centerlines.cldice(broken) == pytest.approx(2 * 0.75 / 1.75)
    beside = centerlines.counts(thin, line(top=7, bottom=8))
    assert centerlines.cldice(beside) == 0


def test_empty_masks():
    empty = np.zeros((9, 20), bool)
    assert centerlines.cldice(centerlines.counts(line(), empty)) == 0
    assert centerlines.cldice(centerlines.counts(empty, line())) == 0
    assert math.isnan(centerlines.cldice(centerlines.counts(empty, empty)))


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (4, 4)])
def test_a_small_object_has_a_skeleton(size):
    mask = np.zeros((9, 9), bool)
    mask[3 : 3 + size[0], 3 : 3 + size[1]] = True
    assert centerlines.cldice(centerlines.counts(mask, mask)) == 1


def test_void_is_outside_both_masks():
    valid = np.ones((9, 20), bool)
    valid[:, 8:12] = False
    gap = line(gap=range(8, 12))
    assert centerlines.counts(line(), gap, valid) == centerlines.counts(gap, gap)


def test_counts_of_images_add_up():
    thin = line(top=4, bottom=5)
    first = centerlines.counts(thin, line(top=4, bottom=5, gap=range(8, 12)))
    second = centerlines.counts(thin, thin)
    pooled = centerlines.cldice({name: first[name] + second[name] for name in centerlines.COUNTS})
    assert pooled == pytest.approx(2 * (28 / 32) / (1 + 28 / 32))
    stacked = {name: [first[name], second[name]] for name in centerlines.COUNTS}
    assert centerlines.cldice(stacked) == pytest.approx([2 * 0.75 / 1.75, 1])
