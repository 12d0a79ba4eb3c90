"""The temperature of a split: the one that made the probabilities, found again."""

import numpy as np
import pytest
from scipy import special

from unet_jax.evaluation import calibration
from unet_jax.evaluation.fit_temperature import fit_temperature, sample
from unet_jax.inference.temperature import apply_temperature


def made(activation, temperature, seed=0, size=(120, 120)):
    """Returns probabilities that are right at `temperature`, and a mask."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(*size, 3)) * 1.5
    if activation == "softmax":
        p = special.softmax(logits, -1)
        mask = (rng.random((*size, 1)) > p.cumsum(-1)).sum(-1)
        return special.softmax(logits * temperature, -1), mask
    return special.expit(logits * temperature), (rng.random(logits.shape) < special.expit(logits)).astype(int)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_it_finds_the_temperature_and_lowers_every_score(activation, temperature):
    probabilities, mask = made(activation, temperature)
    mask[:10] = 255
    found = fit_temperature([sample(probabilities, mask)], activation)
    assert found == pytest.approx(temperature, rel=0.05)
    before = calibration.scores(calibration.counts(probabilities, mask, activation))
    scaled = apply_temperature(probabilities, found, activation)
    after = calibration.scores(calibration.counts(scaled, mask, activation))
    for name in ("ece", "brier", "nll"):
        assert after[name] < before[name]
    assert after["ece"] < 0.02 < before["ece"]


def test_it_is_the_minimum_of_the_likelihood():
    probabilities, mask = made("softmax", 1.7, size=(40, 40))
    found = fit_temperature([sample(probabilities, mask)], "softmax")
    best, *others = [
        calibration.scores(calibration.counts(apply_temperature(probabilities, t, "softmax"), mask, "softmax"))["nll"]
        for t in (found, found * 1.03, found / 1.03)
    ]
    assert best < min(others)


def test_a_sample_is_spread_over_the_image_and_weighs_as_much_as_its_pixels():
    probabilities, mask = made("softmax", 1, size=(50, 20))
    mask[:10] = 255
    some = sample(probabilities, mask, most=101)
    assert len(some.truth) == 101
    assert some.weight == 800 / 101
    np.testing.assert_array_equal(some.probabilities[[0, -1]], probabilities[[10, -1], [0, -1]])
    everything = sample(probabilities, mask)
    assert (len(everything.truth), everything.weight) == (800, 1)
    # An image counts by its pixels: the small one changes little.
    large, small = made("softmax", 2, size=(200, 200)), made("softmax", 0.5, seed=1, size=(20, 20))
    both = fit_temperature([sample(*large, most=400), sample(*small, most=400)], "softmax")
    alone = fit_temperature([sample(*large, most=400)], "softmax")
    assert both == pytest.approx(alone, rel=0.1)
    assert fit_temperature([sample(*small, most=400)], "softmax") < 0.7


def test_without_a_pixel_nothing_changes():
    nothing = sample(np.full((3, 3, 2), 0.5), np.full((3, 3), 255))
    assert fit_temperature([nothing], "softmax") == 1
