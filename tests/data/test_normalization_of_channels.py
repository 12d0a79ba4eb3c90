"""Statistics of each channel are compared with NumPy, whole and in bands, and pixels that are NaN count in none."""

import numpy as np
import pytest

from unet_jax.data.normalization import NORMALIZATIONS, check_depth, normalize, statistics, statistics_of_bands
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
DTYPES = ["uint8", "uint16", "float32"]


def image_of(dtype, channels=3, size=(41, 30)):
    """Returns channels of different means, and values on both sides of 0 if they are floats."""
    values = RNG.normal(size=(*size, channels)) * [[range(1, channels + 1)]] + [[range(channels)]]
    return (values * 1e3).astype(dtype) if dtype == "float32" else np.clip(40 * values + 100, 0, 255).astype(dtype)


def in_bands(image, rows=7):
    return [image[start : start + rows] for start in range(0, len(image), rows)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_channel_has_its_mean_and_deviation(dtype):
    image = image_of(dtype)
    flat = image.reshape(-1, 3).astype(np.float64)
    offset, divisor = statistics(image, "image_channels")
    np.testing.assert_allclose(offset, flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(divisor, flat.std(0), rtol=1e-6)
    assert offset.dtype == divisor.dtype == normalize(image, "image_channels").dtype == np.float32
    for stats in (statistics_of_bands(in_bands(image), "image_channels"),):
        np.testing.assert_allclose(stats, (offset, divisor), rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (41, 30), (7, 13)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_percentiles_are_those_of_numpy(dtype, size):
    image = image_of(dtype, size=size)
    low, high = np.percentile(image.reshape(-1, 3).astype(np.float64), (1, 99), axis=0)
    offset, divisor = statistics(image, "percentile")
    np.testing.assert_allclose(offset, low, rtol=1e-6)
    np.testing.assert_allclose(divisor, np.where(high > low, high - low, 1), rtol=1e-6)
    np.testing.assert_array_equal(statistics_of_bands(in_bands(image, 3), "percentile"), (offset, divisor))


@pytest.mark.parametrize("values", [(-0.0, 0.0), (-1e38, 1e38), (1e-42, -1e-42, 2.0), (5.0,), (-7.5, -7.5, -7.25)])
def test_percentiles_of_floats_of_any_size(values):
    image = np.array(values * 50, np.float32).reshape(-1, 1, 1)
    low, high = np.percentile(image.astype(np.float64), (1, 99))
    offset, divisor = statistics(image, "percentile")
    assert (offset, divisor) == (np.float32(low), np.float32(high - low) or 1)


def test_few_bright_pixels_do_not_darken_the_rest():
    image = image_of("uint16")
    bright = image.copy()
    bright[:2, :3] = 65535
    np.testing.assert_allclose(normalize(bright, "percentile")[5:], normalize(image, "percentile")[5:], atol=0.2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_range_maps_its_ends_to_0_and_1_and_cuts_nothing_off(dtype):
    image = np.array([[[50], [100], [150], [175]]], dtype)
    assert normalize(image, "range", value_range=(50, 150)).ravel().tolist() == [0, 0.5, 1, 1.25]
    stats = statistics_of_bands([image], "range", (50, 150))
    assert stats == statistics(image, "range", (50, 150))
    # The same values mean the same in every type.
    check_depth("scan.tif", dtype, "uint16", "range", (50, 150))


@pytest.mark.parametrize("mode", NORMALIZATIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_unknown_pixels_count_nowhere_and_become_zero(mode, value):
    image = RNG.random((20, 9, 2)).astype(np.float32)
    unknown = np.zeros((20, 9), bool)
    unknown[3:11, 2:7] = True
    holed = image.copy()
    # One channel does.
    holed[unknown, 1] = value
    normalized = normalize(holed, mode)
    np.testing.assert_array_equal(normalized[unknown], 0)
    # What they hide changes nothing: the same pixels, alone.
    alone = normalize(image[~unknown][None], mode)[0]
    np.testing.assert_allclose(normalized[~unknown], alone, rtol=1e-6, atol=1e-6)
    other = holed.copy()
    other[unknown, 0] = 1e30
    np.testing.assert_array_equal(normalize(other, mode), normalized)
    # A whole band may be unknown, the first, too.
    for image_in_bands in (holed, np.concatenate([np.full((4, 9, 2), value, np.float32), holed])):
        banded = statistics_of_bands(in_bands(image_in_bands, 2), mode)
        np.testing.assert_allclose(banded, statistics(image_in_bands, mode), rtol=1e-6)


@pytest.mark.parametrize("mode", NORMALIZATIONS)
def test_an_image_of_unknown_pixels_alone_is_zero(mode):
    image = np.full((4, 5, 2), np.nan, np.float32)
    for stats in (statistics(image, mode), statistics_of_bands(in_bands(image, 2), mode)):
        np.testing.assert_array_equal(normalize(image, mode, stats), 0)


def test_floats_beyond_the_range_are_refused_and_nan_is_passed_over():
    image = np.array([[[0.0], [np.nan], [1.0]]], np.float32)
    assert statistics_of_bands([image], "range") == (0, 1)
    with pytest.raises(UserError, match=r"0 to 2.*data\.range"):
        statistics_of_bands([image, 2 * image], "range")
