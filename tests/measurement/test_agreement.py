"""The agreement of predicted and true measurements, by hand."""

import math

import numpy as np
import pytest

from unet_jax.measurement.agreement import compare, match


def test_objects_are_matched_at_an_iou_of_a_half_and_once():
    true = np.array([[1, 1, 0, 2, 2, 2, 2, 3]])
    predicted = np.array([[4, 4, 4, 1, 1, 2, 2, 0]])
    # Object 2 is halved: the first half is taken. Object 3 is not found.
    assert match(true, predicted) == [(1, 4, pytest.approx(2 / 3)), (2, 1, 0.5)]
    assert match(true, predicted, 0.6) == [(1, 4, pytest.approx(2 / 3))]
    assert match(true, np.zeros_like(true)) == match(np.zeros_like(true), predicted) == []


def pair(true, predicted):
    return tuple({"image": "x", "label": "1", "class": "a", "bbox-0": "0", **row} for row in (true, predicted))


def test_bias_and_limits_by_hand():
    pairs = [pair({"area": "10"}, {"area": "11"}), pair({"area": "20"}, {"area": "23"})]
    (row,) = compare(pairs, "a", 5, 3)
    assert row == {
        "class": "a",
        "column": "area",
        "num_true": 5,
        "num_predicted": 3,
        "num_matched": 2,
        "mean_true": 15,
        "bias": 2,
        "sd": pytest.approx(math.sqrt(2)),
        "limit_low": pytest.approx(2 - 1.96 * math.sqrt(2)),
        "limit_high": pytest.approx(2 + 1.96 * math.sqrt(2)),
    }


def test_an_axis_that_turns_past_the_vertical_differs_little():
    low, high = str(-math.pi / 2 + 0.1), str(math.pi / 2 - 0.1)
    (row,) = compare([pair({"orientation": high}, {"orientation": low})], "a", 1, 1)
    assert row["bias"] == pytest.approx(0.2)
    assert math.isnan(row["sd"])


def test_columns_that_one_table_lacks_are_left_out_and_no_pair_is_no_row():
    (row,) = compare([pair({"area": "1", "intensity_mean": "3"}, {"area": "1"})], "a", 1, 1)
    assert row["column"] == "area"
    assert compare([], "a", 4, 0) == []
