"""Each operator on a band of rows that are filled is the operator on the whole map."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.models import blocks, conv, fc_densenet, fcn
from unet_jax.models.encoders import encoder
from unet_jax.models.operators import Window, center_crop, crop, join, run_operators


def fill_rows(x, window):
    """Returns a map with the rows that an operator reads beyond it; the definition of `Window.fill`."""
    ends = ((0, 0), (max(window.before, 0), window.end), (0, 0), (0, 0))
    if window.fill is None:
        return jnp.pad(x, ends, mode="edge")
    return jnp.pad(x, ends, constant_values=window.fill)


class Compared:
    """Runs an operator on all rows that are filled, and on a part of them; compares both with the whole."""

    def __init__(self):
        self.windows = []

    def operator(self, window, band, whole, x):
        self.windows.append(window)
        band, expected, filled = jax.jit(band), np.asarray(jax.jit(whole)(x)), fill_rows(x, window)
        assert expected.shape[1] == window.rows(x.shape[1])
        # In ceil mode an even map leaves the row below it unread.
        read = window.stride * (expected.shape[1] // window.scale - 1) + window.before + window.after + 1
        np.testing.assert_allclose(band(filled[:, :read]), expected, rtol=0, atol=1e-6)
        # The rows 2 and 3 of the source's steps, with the rows around them that the window states, and none more.
        first, last = 2 * window.stride, 3 * window.stride + window.before + window.after + 1
        part = np.asarray(band(filled[:, first:last]))
        at = 2 * window.scale
        np.testing.assert_allclose(part, expected[:, at : at + 2 * window.scale], rtol=0, atol=1e-6)
        return expected

    def join(self, maps):
        return list(maps)


def convolution(size, stride=1, padding="SAME"):
    kernel = np.random.default_rng(1).standard_normal((size, size, 2, 3), np.float32)
    options = {
        "lhs_dilation": (1, 1),
        "rhs_dilation": (1, 1),
        "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
        "feature_group_count": 1,
        "precision": None,
    }
    fn = conv.conv_general_dilated if (size, stride) == (3, 1) else conv.conv_of_any_size
    return lambda x: fn(x, kernel, (stride, stride), padding, **options)


KERNEL = np.random.default_rng(2).standard_normal((2, 2, 2, 3), np.float32)
OPERATORS = {
    "3x3": convolution(3),
    "3x3 valid": convolution(3, padding="VALID"),
    "1x1": convolution(1),
    "7x7": convolution(7),
    "7x7 valid": convolution(7, padding="VALID"),
    "7x7, stride 2": convolution(7, 2, ((3, 3), (3, 3))),
    "3x3, stride 2": convolution(3, 2, ((1, 1), (1, 1))),
    "1x1, stride 2": convolution(1, 2, ((0, 0), (0, 0))),
    "2x2 maximum": blocks.max_pool,
    "3x3 maximum": encoder.max_pool_3x3,
    "mean": encoder.mean_pool,
    "maximum in ceil mode": fcn.ceil_pool,
    "nearest": blocks.upsample_nearest_2x,
    "bilinear": blocks.upsample_bilinear_2x,
    "transposed 2x2": functools.partial(blocks.conv_transpose_2x2, kernel=KERNEL),
    "interpolation by 4": functools.partial(fcn.upsample, factor=4),
    "transposed 3x3": lambda x: fc_densenet.TransitionUp("float32").apply(
        {"params": {"kernel": np.ones((3, 3, 2, 2), np.float32), "bias": np.zeros(2, np.float32)}}, x
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("rows", [12, 13])
def test_a_band_of_filled_rows_is_the_whole(name, rows):
    if rows % 2 and name in ("2x2 maximum", "mean"):
        pytest.skip("the map has an even number of rows")
    # A ReLU comes before the maximum in ceil mode.
    x = np.random.default_rng(0).random((1, rows, 10, 2), np.float32)
    runner = Compared()
    with run_operators(runner):
        OPERATORS[name](x)
    assert len(runner.windows) == 1


def test_a_border_of_zeros_is_filled():
    x = np.ones((1, 4, 3, 2), np.float32)
    window = Window(fcn.BORDER, -fcn.BORDER, end=fcn.BORDER)
    padded = fcn.add_border(x)
    assert padded.shape[1] == window.rows(4) == 204
    columns = slice(fcn.BORDER, fcn.BORDER + 3)
    np.testing.assert_array_equal(fill_rows(x, window), padded[:, :, columns])


def test_parts_of_a_map():
    x = np.arange(30).reshape(1, 5, 6, 1)
    np.testing.assert_array_equal(crop(x, (1, 2), (3, 2)), x[:, 1:4, 2:4])
    np.testing.assert_array_equal(center_crop(x, (3, 2)), x[:, 1:4, 2:4])
    assert [y is x for y in join([x, x])] == [True, True]


@pytest.mark.parametrize(
    ("window", "rows", "result"),
    [
        (Window(1, 1, end=1), 10, 10),
        (Window(after=2), 10, 8),
        (Window(after=1, stride=2, end=1), 9, 5),
        (Window(scale=2), 10, 20),
        (Window(-3, 3), 10, 7),
        (Window(before=1, scale=8, end=1), 10, 88),
    ],
)
def test_the_rows_of_a_result(window, rows, result):
    assert window.rows(rows) == result
    assert jax.jit(window.rows)(rows) == result
