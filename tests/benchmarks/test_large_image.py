"""The benchmark of large images: what it compares with, and what it counts."""

import numpy as np
import pytest

from benchmarks import large_image
from unet_jax.runtime import out_of_memory

SHAPE = (70, 45)


@pytest.fixture(scope="module")
def predictor():
    return large_image.create_predictor("unet", (4, 8), pad_multiple=2)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random(SHAPE, np.float32)


@pytest.fixture(scope="module")
def predicted(predictor, image):
    with large_image.counted_flops() as flops:
        return large_image.predict(predictor, image), flops


def test_one_whole_pass_is_the_work_of_one(predictor, predicted):
    _, flops = predicted
    assert sum(flops) == pytest.approx(large_image.whole_flops(predictor, SHAPE), rel=0.02)


@pytest.mark.parametrize("fits", [True, False])
def test_a_wrong_pixel_is_found(fits, predictor, predicted, image, monkeypatch):
    probabilities = predicted[0].copy()
    if not fits:
        monkeypatch.setattr(large_image, "REGION", 16)

        def refuse(*args, **options):
            raise MemoryError

        monkeypatch.setattr(out_of_memory, "check_fits", refuse)
    compared, difference = large_image.compare(predictor, image, probabilities)
    assert compared == ("whole" if fits else "regions")
    assert difference < 1e-5
    probabilities[69, 44, 1] += 0.5
    # No region looks here.
    probabilities[20, 3, 1] += 0.7
    found = large_image.compare(predictor, image, probabilities)[1]
    assert found == pytest.approx(0.7 if fits else 0.5, abs=1e-4)


def test_a_region_reads_its_halo_from_a_multiple_on():
    places = large_image.regions(1000, 2000, side=512, halo=94, multiple=16)
    assert places[0] == (slice(0, 606), slice(0, 606), 0, 0)
    rows, columns, top, left = places[3]
    assert (rows.start % 16, columns.start % 16) == (0, 0)
    assert (rows.start + top, columns.start + left) == (488, 1488)
    assert min(top, left) >= 94
    assert (rows.stop, columns.stop) == (1094, 2094)
    # An image that is smaller than a region is one.
    assert set(map(str, large_image.regions(100, 50, 512, 94, 16))) == {str((slice(0, 606), slice(0, 606), 0, 0))}
