"""JPEG 2000 as an image; as a mask it is refused."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from unet_jax.data.datasets.formats import jpeg2000
from unet_jax.errors import UserError

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_pixels_come_back(dtype, channels, codec):
    array = RNG.integers(0, np.iinfo(dtype).max + 1, (40, 50, channels)).astype(dtype)
    data = imagecodecs.jpeg2k_encode(array.squeeze(), level=0, reversible=True, codecformat=codec)
    got = jpeg2000.read_image("a.jp2", data)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, array)


def test_masks_other_channels_and_damage_are_refused():
    data = imagecodecs.jpeg2k_encode(np.zeros((40, 50), np.uint8), level=0, reversible=True)
    with pytest.raises(UserError, match=r"^a\.jp2: is a mask of JPEG 2000.*cut to a rate.*PNG$"):
        jpeg2000.read_labels("a.jp2", data)
    four = imagecodecs.jpeg2k_encode(np.zeros((40, 50, 4), np.uint8), level=0, reversible=True)
    with pytest.raises(UserError, match="4 channels"):
        jpeg2000.read_image("a.jp2", four)
    for damaged in (data[:60], b"\0\0\0\x0cjP  nothing"):
        with pytest.raises((ValueError, RuntimeError)):
            jpeg2000.read_image("a.jp2", damaged)


def test_few_bits_are_stretched():
    array = RNG.integers(0, 16, (40, 50)).astype(np.uint8)
    data = imagecodecs.jpeg2k_encode(array, level=0, reversible=True, bitspersample=4)
    np.testing.assert_array_equal(jpeg2000.read_image("a.jp2", data)[..., 0], array * 17)


def test_a_file_that_declares_to_be_reversible_may_have_lost_values():
    """Why masks are refused, those of the reversible wavelet too."""
    array = RNG.integers(0, 3, (64, 64)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG2000", quality_layers=[20])
    data = file.getvalue()
    reversible = 1
    assert data[data.find(b"\xff\x52") + 13] == reversible
    assert (jpeg2000.read_image("a.jp2", data)[..., 0] != array).any()
