"""The certificate finds a halo that is not the one that the operators declare."""

import jax
import pytest

from unet_jax import models
from unet_jax.analysis.certify import halo
from unet_jax.models import blocks
from unet_jax.models.operators import Window, operator
from unet_jax.models.receptive_field import trace

OPTIONS = {"num_classes": 1, "activation": "sigmoid", "dtype": "float64", "widths": (1, 1)}


def check(**options):
    with jax.enable_x64(True):
        return halo.check("U-Net", "halo", models.build("unet", **OPTIONS, **options))


@pytest.fixture
def declare(monkeypatch):
    """declare(window): bilinear up-sampling declares this window; it computes what it always does."""
    up = blocks.upsample_bilinear_2x
    # A network that is equal was traced with the right window.
    trace.cache_clear()
    yield lambda window: monkeypatch.setitem(
        blocks.UPSAMPLE_2X, "bilinear", lambda x: operator(window, lambda x: up(x)[:, 2:-2], up, x)
    )
    trace.cache_clear()


@pytest.mark.parametrize(
    ("each", "expected", "found"),
    [
        (((1, 0), (0, 1)), "10, at 2 positions", "10, at 2 positions"),
        # More than is read, and less.
        ((), "11, at 2 positions", "10, at 0 positions"),
        (((0, 0), (0, 0)), "9, at 2 positions", "10, at 0 positions"),
        (((0, 0), (0, 1)), "10, at 2 positions", "10, at 1 positions"),
    ],
)
def test_another_window_than_the_declared_one_is_found(declare, each, expected, found):
    declare(Window(1, 1, scale=2, end=1, fill=None, each=each))
    result = check(upsample="bilinear")
    assert (result.expected, result.found, result.passed) == (expected, found, expected == found)


def test_columns_are_looked_at(monkeypatch):
    """Also where the rows are as declared."""
    up = blocks.upsample_nearest_2x
    wide = Window(scale=2)

    def farther(x):
        return up(x).at[:, :, 4:].add(up(x)[:, :, :-4])

    trace.cache_clear()
    monkeypatch.setitem(blocks.UPSAMPLE_2X, "nearest", lambda x: operator(wide, farther, farther, x))
    result = check(upsample="nearest")
    trace.cache_clear()
    assert (result.expected, result.passed) == ("9, at 2 positions", False)


def test_a_network_that_does_not_read_the_whole_map_fails():
    with jax.enable_x64(True):
        assert not halo._whole_map("none", models.build("unet", **OPTIONS, norm="none")).passed
