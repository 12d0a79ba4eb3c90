"""Intervals hold the true mean as often as they say: simulated samples, of images, of groups, and of seeds crossed with images."""

import numpy as np
import pytest
from scipy import stats

from unet_jax.errors import UserError
from unet_jax.evaluation.intervals import DIFFERENCE, SCORE, UNBOUNDED, mean_interval, spread, t_interval

DRAWS = 4000
# Shapes of Beta distributions, skewed as IoU is.
SKEWED = ((22, 4.2), (9, 1), (2, 0.5))


def held(interval, mean):
    low, high = interval
    return ((low <= mean) & (mean <= high)).mean()


@pytest.mark.parametrize("shape", SKEWED)
@pytest.mark.parametrize("n", [6, 10, 16, 32, 132])
def test_the_mean_of_images_is_held(shape, n):
    values = np.random.default_rng(n).beta(*shape, (DRAWS, n))
    low, high = mean_interval(values)
    assert held((low, high), shape[0] / sum(shape)) >= 0.92
    error = values.std(1, ddof=1) / n**0.5 * stats.t.ppf(0.975, n - 1)
    plain = np.clip(values.mean(1) + error, 0, 1) - np.clip(values.mean(1) - error, 0, 1)
    assert (high - low).mean() <= (2 if n == 6 else 1.5) * plain.mean()


@pytest.mark.parametrize("shape", SKEWED)
def test_the_mean_of_images_in_groups_is_held(shape):
    """16 groups of 1 to 10 images; two images of a group have the correlation 0.5."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(16), [*range(1, 11), 10, 1, 2, 8, 4, 5])
    shared = rng.beta(*shape, (DRAWS, 16))[:, groups]
    values = np.where(rng.random(shared.shape) < 0.5**0.5, shared, rng.beta(*shape, shared.shape))
    mean = shape[0] / sum(shape)
    assert held(mean_interval(values, groups), mean) >= 0.92
    # As if the images were independent.
    assert held(mean_interval(values), mean) < 0.75


@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize("images", [10, 32])
@pytest.mark.parametrize("of_seeds", [0.005, 0.05])
def test_the_mean_over_seeds_and_images_is_held(seeds, images, of_seeds):
    """With one seed the mean of that seed is held."""
    rng = np.random.default_rng(0)
    of_seed = rng.normal(0, of_seeds if seeds > 1 else 0, (DRAWS, 1, seeds))
    rest = rng.normal(0, 0.03, (DRAWS, images, seeds))
    cases = (
        (rng.beta(22, 4.2, (DRAWS, images, 1)), 22 / 26.2, SCORE),
        (rng.normal(0.02, 0.05, (DRAWS, images, 1)), 0.02, DIFFERENCE),
    )
    for of_image, mean, bounds in cases:
        values = of_image + of_seed + rest
        found = spread(values, images)
        interval = t_interval(
            values.mean((1, 2)), found.variance(), found.freedom(), np.full(DRAWS, images), bounds=bounds
        )
        assert held(interval, mean) >= 0.92


def test_a_sample_by_hand():
    """Values 0.5, 0.6, 0.7: the mean is 0.6, its error 0.1 / sqrt(3), t of 2 degrees of freedom 4.3027."""
    low, high = mean_interval([0.5, 0.6, 0.7])
    reach = 4.302653 * 0.1 / 3**0.5 / (0.6 * 0.4)
    assert np.log([low / (1 - low), high / (1 - high)]) == pytest.approx(np.log(1.5) + reach * np.array([-1, 1]))
    # Of differences, where the mean 0.6 is the part 0.8 of the way from -1 to 1.
    low, high = mean_interval([0.5, 0.6, 0.7], bounds=DIFFERENCE)
    reach = 4.302653 * 0.05 / 3**0.5 / (0.8 * 0.2)
    parts = (np.array([low, high]) + 1) / 2
    assert np.log(parts / (1 - parts)) == pytest.approx(np.log(4) + reach * np.array([-1, 1]))
    # Without bounds.
    reach = 4.302653 * 100 / 3**0.5
    assert mean_interval([500, 600, 700], bounds=UNBOUNDED) == pytest.approx((600 - reach, 600 + reach))
    assert np.isnan(mean_interval([500], bounds=UNBOUNDED)).all()
    wide, narrow = mean_interval([0.5, 0.6, 0.7], level=0.99), mean_interval([0.5, 0.6, 0.7], level=0.5)
    assert wide[0] < low < narrow[0] < 0.6 < narrow[1] < wide[1]


def test_groups_by_hand():
    """Groups of 3, 1 and 2 images. Without each, the means are 0.8, 0.8 and 0.7; the effective number is 36 / 14."""
    values = np.array([0.7, 0.6, 0.8, 0.5, 0.9, 1.0])
    low, high = mean_interval(values, groups=["a", "a", "a", "b", "c", "c"])
    without = [2.4 / 3, 4.0 / 5, 2.6 / 4]
    error = (2 / 3 * np.square(np.array(without) - np.mean(without)).sum()) ** 0.5
    reach = stats.t.ppf(0.975, 36 / 14 - 1) * error / (0.75 * 0.25)
    assert np.log([low / (1 - low), high / (1 - high)]) == pytest.approx(np.log(3) + reach * np.array([-1, 1]))
    # Groups of one image are images.
    assert mean_interval(values, groups=np.arange(6)) == pytest.approx(mean_interval(values))


def test_special_cases():
    assert mean_interval([0.8] * 4) == pytest.approx((0.8, 0.8))
    assert mean_interval([0.0] * 4, bounds=DIFFERENCE) == (0, 0)
    # All values are the bound: 0.025^(1/6) is 0.541.
    assert mean_interval([1.0] * 6) == pytest.approx((0.5407, 1), abs=1e-4)
    assert mean_interval([0.0] * 6) == pytest.approx((0, 0.4593), abs=1e-4)
    assert mean_interval([1.0] * 6, bounds=DIFFERENCE) == pytest.approx((0.0815, 1), abs=1e-4)
    for unknown in ([], [0.5], [0.5, np.nan], [1.0], [np.nan, np.nan]):
        assert np.isnan(mean_interval(unknown)).all()
    # One group.
    assert np.isnan(mean_interval([0.5, 0.6], groups=[7, 7])).all()
    assert mean_interval([0.5, np.nan, 0.6, 0.9]) == mean_interval([0.5, 0.6, 0.9])
    assert mean_interval([0.5, np.nan, 0.6, 0.9], groups=[1, 2, 1, 3]) == mean_interval(
        [0.5, 0.6, 0.9], groups=[1, 1, 3]
    )
    low, high = mean_interval([0.01, 0.02, 0.9, 1.0])
    assert 0 < low < high < 1
    with pytest.raises(UserError, match=r"1\.2 is not from 0 to 1.*bounds"):
        mean_interval([0.5, 1.2])


def test_the_order_of_the_images_does_not_matter():
    values = np.random.default_rng(0).beta(9, 1, 20)
    groups = np.arange(20) // 3
    order = np.random.default_rng(1).permutation(20)
    assert mean_interval(values[order]) == pytest.approx(mean_interval(values), rel=1e-12)
    assert mean_interval(values[order], groups[order]) == pytest.approx(mean_interval(values, groups), rel=1e-12)


def test_equal_seeds_add_nothing():
    values = np.random.default_rng(0).beta(9, 1, (20, 1))
    one, three = spread(values, 20), spread(np.repeat(values, 3, 1), 20)
    assert three.variance() == pytest.approx(one.variance())
    assert three.freedom() == pytest.approx(one.freedom())
    # With equal images, the interval is that of the seeds.
    seeds = spread(np.repeat(values[:3].T, 20, 0), 20)
    assert seeds.variance() == pytest.approx(values[:3].var(ddof=1) / 3)
    assert seeds.freedom() == pytest.approx(2)
