"""The agreement of predicted and true measurements, by hand."""

import math

import pytest
from scipy import stats

from unet_jax.measurement.agreement import compare


def pair(true, predicted, image="x"):
    return tuple({"image": image, "label": "1", "class": "a", "bbox-0": "0", **row} for row in (true, predicted))


def test_bias_and_limits_by_hand():
    pairs = [pair({"area": "10"}, {"area": "11"}), pair({"area": "20"}, {"area": "23"}, image="y")]
    (row,) = compare(pairs, "a", 5, 3)
    assert row == {
        "class": "a",
        "column": "area",
        "num_true": 5,
        "num_predicted": 3,
        "num_matched": 2,
        "num_images": 2,
        "mean_true": 15,
        "bias": 2,
        # The standard error of the mean of 1 and 3 is 1.
        "bias_low": pytest.approx(2 - stats.t.ppf(0.975, 1)),
        "bias_high": pytest.approx(2 + stats.t.ppf(0.975, 1)),
        "interval": "Student's t, standard error by the jackknife",
        "sd": pytest.approx(math.sqrt(2)),
        "limit_low": pytest.approx(2 - 1.96 * math.sqrt(2)),
        "limit_high": pytest.approx(2 + 1.96 * math.sqrt(2)),
    }


def test_the_objects_of_one_image_are_one_unit():
    """Many equal objects do not make the bias surer: they are as alike as the two images are different."""
    few = [pair({"area": "10"}, {"area": f"{10 + i}"}, image=str(i)) for i in (1, 2, 4)]
    (one,), (many,) = compare(few, "a", 3, 3), compare(9 * few, "a", 27, 27)
    assert (many["num_matched"], many["num_images"]) == (27, 3)
    assert [many[name] for name in ("bias_low", "bias_high")] == pytest.approx([one["bias_low"], one["bias_high"]])
    (alone,) = compare(few[:1] * 2, "a", 2, 2)
    assert math.isnan(alone["bias_low"])
    assert not math.isnan(alone["sd"])


def test_an_axis_that_turns_past_the_vertical_differs_little():
    low, high = str(-math.pi / 2 + 0.1), str(math.pi / 2 - 0.1)
    (row,) = compare([pair({"orientation": high}, {"orientation": low})], "a", 1, 1)
    assert row["bias"] == pytest.approx(0.2)
    assert math.isnan(row["sd"])


def test_images_may_have_other_columns():
    """A grey image has one intensity, one in colour three; each column is compared where it is."""
    grey = pair({"area": "1", "intensity_mean": "3"}, {"area": "1", "intensity_mean": "5"})
    colour = pair({"area": "1", "intensity_mean-0": "9"}, {"area": "2", "intensity_mean-0": ""}, image="y")
    rows = {row["column"]: row for row in compare([grey, colour], "a", 2, 2)}
    assert list(rows) == ["area", "intensity_mean"]
    assert [(row["num_matched"], row["num_images"], row["bias"]) for row in rows.values()] == [(2, 2, 0.5), (1, 1, 2)]


def test_columns_that_one_table_lacks_are_left_out_and_no_pair_is_no_row():
    (row,) = compare([pair({"area": "1", "intensity_mean": "3"}, {"area": "1"})], "a", 1, 1)
    assert row["column"] == "area"
    assert compare([], "a", 4, 0) == []
