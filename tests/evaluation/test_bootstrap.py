"""The bootstrap over images against a plain loop over resamples, with classes that images lack."""

import math

import numpy as np
import pytest

from unet_jax.evaluation import bootstrap, metrics

NAMES = ("background", "anode", "cathode")


def some_counts(num_images=5, seed=0):
    rng = np.random.default_rng(seed)
    count = {name: rng.integers(1, 50, (num_images, 3)) for name in bootstrap.COUNTS}
    for values in count.values():
        # Only one image has the third class.
        values[:4, 2] = 0
    return count


def test_each_resample_is_scored_as_its_images_would_be():
    count, report_channels = some_counts(), [1, 2]
    draws = bootstrap.draw(5, resamples=60)
    scores = bootstrap.scores(count, draws, report_channels)
    # Some resamples have no image with the third class.
    assert draws[:, 4].min() == 0
    for row, weights in enumerate(draws):
        chosen = np.repeat(np.arange(5), weights)
        drawn = {name: values[chosen] for name, values in count.items()}
        drawn |= {name: np.zeros(5, int) for name in ("correct", "total")}
        expected = metrics.summarize(drawn, NAMES, ("anode", "cathode"))
        for name, values in scores.items():
            assert values[row] == pytest.approx(expected[f"{name}/mean"], abs=1e-12)


def test_draws_are_a_function_of_their_arguments():
    draws = bootstrap.draw(7, resamples=3000, seed=1)
    assert (draws.sum(1) == 7).all()
    np.testing.assert_array_equal(draws, bootstrap.draw(7, resamples=3000, seed=1))
    assert (draws != bootstrap.draw(7, resamples=3000, seed=2)).any()
    np.testing.assert_allclose(draws.mean(0), 1, atol=0.1)
    assert bootstrap.RESAMPLES >= 1000


def test_interval_is_that_of_what_is_known():
    samples = np.concatenate([np.linspace(0, 1, 1001), [np.nan] * 10])
    assert bootstrap.interval(samples) == pytest.approx((0.025, 0.975))
    assert bootstrap.interval(samples, 0.5) == pytest.approx((0.25, 0.75))
    assert all(math.isnan(end) for end in bootstrap.interval(np.full(3, np.nan)))
    absent = {name: np.zeros((4, 3), int) for name in bootstrap.COUNTS}
    assert np.isnan(bootstrap.scores(absent, bootstrap.draw(4, resamples=5), [1, 2])["iou_image"]).all()


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    """Per image, of one class: the standard error of the mean, times 1.96 on each side."""
    rng = np.random.default_rng(0)
    tp = rng.integers(200, 800, (100, 1))
    count = {"tp": tp, "fp": 1000 - tp, "fn": np.zeros_like(tp)}
    low, high = bootstrap.interval(bootstrap.scores(count, bootstrap.draw(100), [0])["iou_image"])
    assert high - low == pytest.approx(2 * 1.96 * (tp / 1000).std() / 10, rel=0.1)


def test_counts_come_back_from_rows():
    count = some_counts()
    rows = [
        {f"{name}/{c}": int(values[i, k]) for name, values in count.items() for k, c in enumerate(NAMES)}
        for i in range(5)
    ]
    for name, values in bootstrap.counts(rows, NAMES).items():
        np.testing.assert_array_equal(values, count[name])
