"""Images are mirrored as NumPy reflects them, and sizes are rounded up."""

import numpy as np
import pytest

from unet_jax.data import padding


def test_padded_size_is_a_multiple_that_the_network_takes():
    assert padding.padded_size(64, 65, 64, lambda n: n + 184) == (248, 312)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_mirroring_is_numpys_reflection(n):
    image = np.arange(n * 3).reshape(n, 3, 1)
    want = np.pad(image, ((4, 7), (1, 9), (0, 0)), "reflect" if n > 1 else "symmetric")
    # NumPy cannot reflect an axis of one pixel; it is repeated here.
    if n == 1:
        want = np.pad(np.repeat(image, 12, 0), ((0, 0), (1, 9), (0, 0)), "reflect")
    np.testing.assert_array_equal(padding.pad_image(image, (n + 11, 13), (4, 1)), want)
