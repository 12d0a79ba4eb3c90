"""Estimates over seeds and images, and p values, in cases whose answers are known."""

import numpy as np
import pytest
from helpers.compared_runs import some_counts

from unet_jax.analysis.compare import estimate
from unet_jax.evaluation import bootstrap


def test_seeds_and_images_are_crossed():
    """Three equal seeds give the interval of one seed."""
    count = {kind: values[:, 1:] for kind, values in some_counts(20, 0).items()}
    one, three = (estimate.resample([count] * num, "val", "iou")["pooled"] for num in (1, 3))
    assert estimate.estimate(three)[2:4] == pytest.approx(estimate.estimate(one)[2:4])
    assert estimate.estimate(three).std == 0
    # With equal images, the interval is the spread of the seeds.
    same = [
        {"tp": np.full((20, 1), tp), "fp": np.full((20, 1), 100 - tp), "fn": np.zeros((20, 1), int)}
        for tp in (50, 60, 80)
    ]
    spread = estimate.estimate(estimate.resample(same, "val", "iou")["image"])
    assert spread[2:4] == pytest.approx((0.5, 0.8))
    assert spread.std == pytest.approx(np.std([0.5, 0.6, 0.8], ddof=1))
    # The images of two splits are drawn independently, also where their number is the same.
    train, val = (estimate.resample([count], split, "iou")["pooled"] for split in ("train", "val"))
    assert estimate.estimate(train - val).low < 0 < estimate.estimate(train - val).high


def test_a_difference_of_the_same_seeds_is_that_of_each():
    values = np.random.default_rng(0).normal(size=(1 + bootstrap.RESAMPLES, 3)) * 0 + np.array([0.2, 0.5, 0.8])
    assert estimate.difference(values, values + 0.01, same_seeds=True) == pytest.approx((0.01,) * 3)
    mean, low, high = estimate.difference(values, values + 0.01, same_seeds=False)
    assert mean == pytest.approx(0.01)
    assert (low, high) == pytest.approx((-0.39, 0.41), abs=0.11)


def test_p_values_of_what_cannot_be_tested():
    assert np.isnan(estimate.p_value(np.array([0.5, np.nan]), np.array([0.6, 0.7])))
    assert estimate.p_value(np.full(9, 0.5), np.full(9, 0.5)) == 1
    first = np.random.default_rng(0).uniform(size=40)
    assert estimate.p_value(first, first + 0.01) == pytest.approx(2 / (estimate.PERMUTATIONS + 1))
    # The largest is no smaller than the one before it.
    corrected = estimate.holm([0.03, np.nan, 0.01, 0.04])
    assert corrected == pytest.approx([0.06, np.nan, 0.03, 0.06], nan_ok=True)
