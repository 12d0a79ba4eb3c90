"""The eight metrics of plates, and those of every image, against cases worked out by hand."""

import math

import pytest

from unet_jax.measurement.plates.overhangs import neighbours, overhang
from unet_jax.measurement.plates.scores import Tip, score_image, summarize

ANODE, CATHODE = 0, 1


def tips(*plates):
    """Returns a stack of (kind, reach) from top to bottom, 10 px apart; a reach of None is a tip outside the image."""
    return [
        Tip(kind, reach, None if reach is None else (reach, 10.0 * row)) for row, (kind, reach) in enumerate(plates)
    ]


TRUE = tips((ANODE, 50.0), (CATHODE, 40.0), (ANODE, 52.0), (CATHODE, 41.0))


def test_a_perfect_result():
    scores = summarize([score_image(TRUE, TRUE)])
    assert [scores[name] for name in ("AN-MAE", "CN-MAE", "AL-MAE", "CL-MAE", "OH-MAE", "tip/mean")] == [0] * 6
    assert [scores[name] for name in ("AN-ACC", "CN-ACC", "PN-ACC", "tip/coverage", "overhang/sign")] == [1] * 5


def test_distances_by_hand():
    found = tips((ANODE, 53.0), (CATHODE, 40.0), (ANODE, 52.0), (CATHODE, 42.0))
    scores = summarize([score_image(found, TRUE)])
    assert (scores["AL-MAE"], scores["CL-MAE"]) == (1.5, 0.5)
    # Of three pairs: 13 for 10, 12 for 12, 10 for 11.
    assert scores["OH-MAE"] == pytest.approx(4 / 3)
    assert scores["overhang/mean"] == pytest.approx(4 / 3)


def test_where_the_number_is_wrong_only_the_matched_tips_are_scored():
    missed = tips((ANODE, 50.0), (CATHODE, 40.0), (ANODE, 52.0))
    scores = summarize([score_image(missed, TRUE), score_image(TRUE, TRUE)])
    assert (scores["CN-MAE"], scores["CN-ACC"], scores["AN-ACC"], scores["PN-ACC"]) == (0.5, 0.5, 1, 0.5)
    # The first image has no location of cathodes and no overhang in the field's metrics.
    only = summarize([score_image(missed, TRUE)])
    assert math.isnan(only["CL-MAE"])
    assert math.isnan(only["OH-MAE"])
    assert only["AL-MAE"] == 0
    assert only["tip/coverage"] == 0.75
    assert only["overhang/coverage"] == pytest.approx(2 / 3)


def test_an_unsigned_overhang_hides_a_wrong_sign():
    found = tips((ANODE, 30.0), (CATHODE, 40.0), (ANODE, 28.0), (CATHODE, 39.0))
    scores = summarize([score_image(found, TRUE)])
    # |dx| is 10, 12, 11 in both; the anodes end before the cathodes instead of beyond them.
    assert scores["OH-MAE"] == 0
    assert scores["overhang/sign"] == 0
    assert scores["overhang/mean"] == pytest.approx(2 * 11)


def test_tips_outside_the_image_count_as_plates_only():
    true = tips((ANODE, None), (CATHODE, 40.0), (ANODE, 52.0))
    scores = summarize([score_image(true, true)])
    assert (scores["PN-ACC"], scores["num_tips_outside"], scores["tip/coverage"]) == (1, 1, 1)
    assert [overhang(true, pair) for pair in neighbours(true)] == [None, 12.0]


def test_images_without_plates():
    scores = summarize([score_image([], [])])
    assert (scores["PN-ACC"], scores["AN-MAE"], scores["num_tips_outside"]) == (1, 0, 0)
    assert all(math.isnan(scores[name]) for name in ("AL-MAE", "tip/mean", "tip/coverage", "overhang/sign"))
    nothing = summarize([score_image([], TRUE)])
    assert (nothing["PN-ACC"], nothing["tip/coverage"]) == (0, 0)
