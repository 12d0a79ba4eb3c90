"""An image that is prepared in bands is the image that is prepared whole, bit by bit."""

import numpy as np
import pytest
from helpers.known_network import GreyLevels

from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.errors import UserError
from unet_jax.inference.large import prepared_rows
from unet_jax.inference.predictor import Predictor

NAMES = ("a", "b", "c")


def predictor(lost=0, **fields):
    return Predictor(GreyLevels(lost=lost), {}, NAMES, **fields)


def rows_of(predictor, image, multiple=1):
    size = predictor.padded_size(*image.shape[:2])
    return prepared_rows.PreparedRows(
        ArrayRows(image), predictor.check, predictor.normalize, size, predictor.margin, multiple
    )


@pytest.mark.parametrize("lost", [0, 11])
@pytest.mark.parametrize(
    ("size", "dtype", "channels"),
    [
        ((1, 1), "uint8", 1),
        ((1, 50), "uint8", 1),
        ((70, 1), "uint16", 1),
        ((37, 29), "uint16", 3),
        ((5, 90), "float32", 1),
        ((33, 31), "uint8", 4),
        ((64, 16), "float64", 3),
    ],
)
def test_bands_are_prepared_as_the_whole(size, dtype, channels, lost, monkeypatch):
    monkeypatch.setattr("unet_jax.data.datasets.image_rows.BAND_PIXELS", 100)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 250, (*size, channels)).astype(dtype) if channels > 1 else rng.integers(0, 250, size)
    image = image.astype(dtype) / (250 if "float" in dtype else 1)
    image = image.astype(dtype)
    for wanted in (1, 3):
        # "range" takes only depths that are known.
        for mode in ("range", "image"):
            network = predictor(lost, normalize=mode, pad_multiple=16, channels=wanted)
            expected = network.prepare(image)
            rows = rows_of(network, image)
            assert (rows.shape, rows.dtype) == (expected.shape, np.float32)
            for step in (1, 7, len(expected)):
                bands = [rows.read(start, min(start + step, len(expected))) for start in range(0, len(expected), step)]
                assert {band.dtype for band in bands} == {np.dtype(np.float32)}
                np.testing.assert_allclose(np.concatenate(bands), expected, rtol=0, atol=1e-6)


def test_the_last_row_and_column_are_repeated_as_the_network_does():
    image = np.random.default_rng(0).integers(0, 250, (9, 14), dtype=np.uint8)
    network = predictor(pad_multiple=6)
    prepared, rows = network.prepare(image), rows_of(network, image, multiple=8)
    assert rows.shape == (16, 24, 1)
    np.testing.assert_array_equal(rows.read(0, 16), np.pad(prepared, ((0, 4), (0, 6), (0, 0)), mode="edge"))


def test_an_image_that_does_not_fit_the_network_is_refused_before_any_band():
    with pytest.raises(UserError, match="NaN"):
        rows_of(predictor(), np.full((4, 4), np.nan, np.float32))
