"""Temperature: logits divided by T, and the same masks, ties of rounding included."""

import numpy as np
import pytest
from scipy import special

from unet_jax.inference.temperature import apply_temperature
from unet_jax.segmentation import to_masks

TEMPERATURES = (0.05, 0.7, 1.0, 1.6, 20.0)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_it_divides_the_logits_of_one_head(temperature):
    logits = np.random.default_rng(0).normal(size=(5, 7, 3)) * 2
    softmax = apply_temperature(special.softmax(logits, -1), temperature, "softmax")
    assert softmax.dtype == np.float32
    np.testing.assert_allclose(softmax, special.softmax(logits / temperature, -1), atol=1e-6)
    sigmoid = apply_temperature(special.expit(logits), temperature, "sigmoid")
    np.testing.assert_allclose(sigmoid, special.expit(logits / temperature), atol=1e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(
    ("activation", "num_classes"), [("softmax", 2), ("softmax", 4), ("sigmoid", 1), ("sigmoid", 3)]
)
def test_masks_and_ids_stay_the_same(activation, num_classes, temperature):
    """Also where probabilities differ by the last bit, which rounding would make equal, and where they are 0 or 1."""
    rng = np.random.default_rng(1)
    middle = 0.5 if activation == "sigmoid" else 1 / num_classes
    near = (middle + rng.integers(-3, 4, (2000, num_classes)) * 2.0**-25).astype(np.float32)
    high = (0.8 + rng.integers(-3, 4, (2000, num_classes)) * 2.0**-24).astype(np.float32)
    ends = rng.integers(0, 2, (2000, num_classes)).astype(np.float32)
    any_ = rng.random((2000, num_classes)).astype(np.float32)
    probabilities = np.concatenate([near, high, ends, any_])
    before = probabilities.copy()
    scaled = apply_temperature(probabilities, temperature, activation)
    np.testing.assert_array_equal(probabilities, before)
    assert np.isfinite(scaled).all()
    for ours, expected in zip(to_masks(scaled, activation), to_masks(probabilities, activation), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_high_temperature_makes_it_less_sure():
    p = np.array([[0.9, 0.1]], np.float32)
    highest = [float(apply_temperature(p, t, "softmax").max()) for t in TEMPERATURES]
    assert highest == sorted(highest, reverse=True)
    assert highest[2] == pytest.approx(0.9)
    assert 0.5 < highest[-1] < 0.56
