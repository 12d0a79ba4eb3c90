"""Normalisation of each pixel type is compared with NumPy, also for constant images and tiny numbers."""

import numpy as np
import pytest

from unet_jax.data.normalization import check_depth, normalize, statistics, statistics_of_bands
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integer_images_keep_their_bits(dtype):
    """The published figures were made with this formula."""
    top = np.iinfo(dtype).max
    almost_constant = np.full((400, 500, 1), top, dtype)
    almost_constant[7, 9] = top - 1
    images = [RNG.integers(0, top + 1, (40, 50, 3)).astype(dtype), almost_constant]
    for image in images:
        mean = image.mean(dtype=np.float64)
        std = np.sqrt(np.square(image, dtype=np.float64).mean() - mean**2)
        assert std > 1e-6
        expected = (image.astype(np.float32) - np.float32(mean)) / np.float32(std)
        np.testing.assert_array_equal(normalize(image), expected)
    np.testing.assert_array_equal(normalize(images[0], "range"), images[0].astype(np.float32) / np.float32(top))


@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1.0, 1e30])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_float_images_have_unit_variance_at_any_scale(scale, offset):
    image = (scale * (RNG.random((40, 50, 2)) + offset)).astype(np.float32)
    normalized = normalize(image)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized.mean(dtype=float), 0, atol=1e-5)
    np.testing.assert_allclose(normalized.std(dtype=float), 1, rtol=1e-5)


def test_a_scaled_float_image_is_the_same_image():
    """With a threshold on the standard deviation, such as 1e-6, the image would become 0."""
    image = RNG.random((40, 50, 1)).astype(np.float32)
    np.testing.assert_allclose(normalize(image * np.float32(1e-9)), normalize(image), atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 1e-42, 1e-30, 12345.678, 3e38])
@pytest.mark.parametrize("shape", [(1, 1, 1), (123, 457, 1), (64, 64, 3)])
def test_a_constant_float_image_becomes_zero(value, shape):
    """This also holds where the rounded mean gives a standard deviation above 0 in float64."""
    np.testing.assert_array_equal(normalize(np.full(shape, value, np.float32)), 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_constant_integer_image_becomes_zero(dtype):
    for value in (0, 7, np.iinfo(dtype).max):
        np.testing.assert_array_equal(normalize(np.full((123, 457, 1), value, dtype)), 0)


def test_the_smallest_float_difference_stays_finite():
    image = np.zeros((1000, 1000, 1), np.float32)
    image[0, 0] = np.nextafter(np.float32(0), np.float32(1))
    assert np.isfinite(normalize(image)).all()


def test_float_images_keep_their_values_with_range():
    image = RNG.random((4, 5, 1)).astype(np.float32)
    np.testing.assert_array_equal(normalize(image, "range"), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("mode", ["image", "range", "image_channels", "percentile"])
def test_a_window_takes_the_statistics_of_the_whole(dtype, mode):
    image = (200 * RNG.random((20, 30, 1))).astype(dtype)
    window = normalize(image[3:9, 5:7], stats=statistics(image, mode))
    np.testing.assert_array_equal(window, normalize(image, mode)[3:9, 5:7])


@pytest.mark.parametrize("dtype", ["int32", "float64", "bool"])
def test_other_types_are_refused(dtype):
    with pytest.raises(UserError, match=rf"{dtype}.*uint8.*uint16.*float32"):
        normalize(np.zeros((2, 2, 1), dtype))


def test_an_unknown_mode_is_refused():
    with pytest.raises(UserError, match=r"'rank'.*image, range"):
        normalize(np.zeros((2, 2, 1), np.uint8), "rank")


def test_another_depth_is_refused_where_it_changes_the_numbers():
    with pytest.raises(UserError, match=r"scan\.png has 16-bit .*8-bit .*data\.normalize"):
        check_depth("scan.png", "uint16", "uint8", "range")
    with pytest.raises(UserError, match=r"8-bit .*16-bit "):
        check_depth("scan.png", "uint8", "uint16", "range")
    for dtype, trained, mode in (
        ("uint8", "uint8", "range"),
        ("uint16", "", "range"),
        ("uint16", "uint8", "image"),
    ):
        check_depth("scan.png", dtype, trained, mode)


def in_bands(image, rows=7):
    return (image[start : start + rows] for start in range(0, len(image), rows))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_of_integers_have_the_statistics_of_the_whole(dtype):
    """Bit by bit where the sums of squares are below 2**53."""
    top = np.iinfo(dtype).max
    almost_constant = np.full((400, 500, 1), top, dtype)
    almost_constant[7, 9] = top - 1
    random = RNG.integers(0, top + 1, (101, 50, 3)).astype(dtype)
    for image in (random, almost_constant, np.full((5, 4, 1), top, dtype)):
        assert statistics_of_bands(in_bands(image)) == statistics(image)
        assert statistics_of_bands([image]) == statistics(image)


def test_bands_of_large_sums_have_the_statistics_of_the_whole():
    """The sum of squares is above 2**53, and `statistics` rounds it."""
    image = RNG.integers(64000, 65536, (1500, 2000, 1)).astype(np.uint16)
    assert np.square(image, dtype=np.float64).sum() > 2**53
    np.testing.assert_allclose(statistics_of_bands(in_bands(image, 64)), statistics(image), rtol=1e-6)


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (3e7, 100.0), (1e6, 1.0), (0.0, 1e-30), (1e30, 1e29)])
def test_bands_of_floats_have_the_statistics_of_the_whole(mean, spread):
    image = (mean + spread * RNG.normal(size=(101, 60, 2))).astype(np.float32)
    image[50:] += np.float32(3 * spread)
    np.testing.assert_allclose(statistics_of_bands(in_bands(image)), statistics(image), rtol=1e-6)


def test_bands_of_constant_floats_become_zero():
    for value in (0.1, 1e-42, 12345.678, 3e38):
        image = np.full((123, 45, 1), value, np.float32)
        np.testing.assert_array_equal(normalize(image, stats=statistics_of_bands(in_bands(image))), 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_need_no_reading_for_a_range(dtype):
    image = RNG.random((20, 5, 1)).astype(dtype)
    assert statistics_of_bands(in_bands(image), "range") == statistics(image, "range")
    if dtype != np.float32:
        bands = in_bands(image)
        statistics_of_bands(bands, "range")
        assert len(list(bands)) == 2


def test_floats_beyond_the_range_are_refused():
    image = np.zeros((20, 5, 1), np.float32)
    image[17, 3], image[2, 2] = 1.5, -0.25
    with pytest.raises(UserError, match=r"-0\.25 to 1\.5.*'range'"):
        statistics_of_bands(in_bands(image), "range")
    assert statistics_of_bands(in_bands(image), "range", (-1, 3)) == (-1, 4)


def test_bands_of_other_types_and_modes_are_refused():
    with pytest.raises(UserError, match="int32"):
        statistics_of_bands([np.zeros((2, 2, 1), np.int32)])
    with pytest.raises(UserError, match="'rank'"):
        statistics_of_bands([np.zeros((2, 2, 1), np.uint8)], "rank")
