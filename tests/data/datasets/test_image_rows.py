"""Bands of rows are those of the image, and each block is decoded once for bands that follow each other."""

import functools

import numpy as np
import pytest

from unet_jax.data.datasets.image_rows import KEPT_ROWS, ArrayRows, BlockRows, ConvertedRows, bands
from unet_jax.data.normalization import statistics, statistics_of_bands
from unet_jax.inference.images import to_channels

IMAGE = np.random.default_rng(0).integers(0, 256, (101, 7, 3)).astype(np.uint8)


def counted(image, block_rows):
    """Returns the image in blocks, and the list of blocks that were read."""
    read = []

    def read_block(start, stop):
        assert start % block_rows == 0
        assert stop == min(start + block_rows, len(image))
        read.append(start)
        return image[start:stop]

    return BlockRows(image.shape, image.dtype, block_rows, read_block), read


@pytest.mark.parametrize("block_rows", [1, 16, 200])
@pytest.mark.parametrize("band_rows", [1, 16, 24, 101, 0])
def test_bands_of_blocks_decode_each_block_once(block_rows, band_rows):
    rows, read = counted(IMAGE, block_rows)
    np.testing.assert_array_equal(np.concatenate(list(bands(rows, band_rows))), IMAGE)
    assert read == list(range(0, 101, block_rows))


def test_bands_that_overlap_decode_each_block_once():
    image = np.arange(2000, dtype=np.uint16)[:, None, None]
    rows, read = counted(image, 32)
    for start in range(0, 2000, 300):
        top, bottom = max(start - KEPT_ROWS, 0), min(start + 300, 2000)
        np.testing.assert_array_equal(rows.read(top, bottom), image[top:bottom])
    assert read == list(range(0, 2000, 32))


def test_any_rows_may_be_read_in_any_order():
    rows, _ = counted(IMAGE, 16)
    for start, stop in ((90, 101), (3, 5), (15, 17), (0, 101)):
        np.testing.assert_array_equal(rows.read(start, stop), IMAGE[start:stop])


def test_the_default_band_has_about_a_mega_pixel():
    wide = ArrayRows(np.zeros((5, 2**19), np.uint8))
    assert [band.shape[0] for band in bands(wide)] == [2, 2, 1]
    wider = ArrayRows(np.zeros((2, 2**20 + 1), np.uint8))
    assert [band.shape[0] for band in bands(wider)] == [1, 1]


def test_converted_rows_have_the_shape_and_type_of_the_result():
    rows = ConvertedRows(ArrayRows(IMAGE), lambda band: band[..., :1].astype(np.float32) / 2)
    assert rows.shape == (101, 7, 1)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate(list(bands(rows, 13))), IMAGE[..., :1].astype(np.float32) / 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("channels", "wanted"), [(3, 1), (4, 1), (1, 3), (4, 3)])
def test_bands_have_the_channels_of_the_whole_bit_by_bit(dtype, channels, wanted):
    """The luminance of a pixel does not depend on the band that it is in; and so the statistics do not."""
    image = (np.random.default_rng(1).random((101, 333, channels)) * 60000).astype(dtype)
    whole = to_channels(image, wanted)
    rows = ConvertedRows(ArrayRows(image), functools.partial(to_channels, channels=wanted))
    assert (rows.shape, rows.dtype) == (whole.shape, whole.dtype)
    for band_rows in (1, 7, 64):
        np.testing.assert_array_equal(np.concatenate(list(bands(rows, band_rows))), whole)
    np.testing.assert_allclose(statistics_of_bands(bands(rows, 7)), statistics(whole), rtol=1e-6)
