"""How many seeds and images tell a difference, by hand."""

import numpy as np
import pytest

from unet_jax.analysis.compare import power
from unet_jax.evaluation.intervals import Part, Spread, spread

# (0.01 / 2.802)^2 = 1.27370e-5 is the variance that the mean difference may have.
ALLOWED = (0.01 / 2.802) ** 2


def test_numbers_by_hand():
    # Seeds: 2e-5 / 6.3685e-6 = 3.14, so 4. Images: (9e-4 + 4e-4 / 4) / (1.27370e-5 - 5e-6) = 129.2, so 130.
    assert power.needed([power.Variances(2e-5, 9e-4, 4e-4)]) == (4, 130)
    # Without a spread of seeds one is enough: 1.3e-3 / 1.27370e-5 = 102.06.
    assert power.needed([power.Variances(0.0, 9e-4, 4e-4)]) == (1, 103)
    # Seeds that take exactly half, and images that take the other half.
    assert power.needed([power.Variances(ALLOWED * 1.5, ALLOWED * 5, 0.0)]) == (3, 10)
    # Half the difference takes four times as many.
    assert power.needed([power.Variances(ALLOWED * 1.5, ALLOWED * 5, 0.0)], 0.005) == (12, 40)
    assert power.needed([power.Variances(0.0, 0.0, 0.0)]) == (1, 2)


def test_several_differences_count_by_their_mean():
    two = [power.Variances(ALLOWED, ALLOWED * 3, 0.0), power.Variances(ALLOWED * 2, ALLOWED * 7, 0.0)]
    assert power.needed(two) == (3, 10)
    unknown = power.Variances(float("nan"), ALLOWED * 20, 0.0)
    assert power.needed([*two, unknown]) == (3, 10)
    assert power.needed([unknown]) == (0, 20)


def test_variances_are_those_of_one_seed_and_one_image():
    rng = np.random.default_rng(0)
    shape = (400, 300)
    values = rng.normal(0, 0.03, (1, 300)) + rng.normal(0, 0.05, (400, 1)) + rng.normal(0, 0.1, shape)
    found = power.variances(spread(values, 400))
    assert np.sqrt(found) == pytest.approx([0.03, 0.05, 0.1], rel=0.1)
    # One seed: what is between images holds the rest, too.
    one = power.variances(spread(values[:, :1], 400))
    assert np.isnan(one.seeds)
    assert one.images == pytest.approx(values[:, 0].var(ddof=1))
    assert one.rest == 0
    # The means of the seeds hold a tenth of the rest, those of the images a third.
    few = Spread((Part(0.03, 2, 3),), (Part(0.05, 9, 10),), (Part(0.01, 18, 30),))
    assert power.variances(few) == pytest.approx((0.03 * 3 - 0.3 / 10, 0.05 * 10 - 0.3 / 3, 0.3))
    # Estimates below 0 are 0.
    assert power.variances(spread(np.array([[1.0, 0.0], [0.0, 1.0]]), 2))[:2] == (0, 0)
