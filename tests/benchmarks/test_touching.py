"""Ways to find touching objects: the objects of each way, their scores, and the cells of the table."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import touching
from unet_jax.evaluation.jackknife import of_images

SIZE = (20, 40)
# Two discs that touch.
ROWS, COLUMNS = np.indices(SIZE)
TRUE = np.select([np.hypot(ROWS - 10, COLUMNS - centre) < 8.5 for centre in (11, 27)], [1, 2]).astype(np.uint16)


def run(border_width):
    return SimpleNamespace(predictor=SimpleNamespace(activation="sigmoid"), border_width=border_width)


def test_each_way_finds_the_objects_of_its_network():
    mask = TRUE > 0
    plain = np.where(mask, 0.9, 0.1)[..., None]
    near = mask & (abs(COLUMNS - 19) < 3)
    borders = np.stack([1.0 - mask, mask & ~near, near], -1)
    found = {
        way.name: touching.find(run(2.0 if way.borders else 0.0), borders if way.borders else plain, way)
        for way in touching.WAYS
    }
    # The probability is the same everywhere, so it says nothing. What is joined is one piece.
    assert [values.max() for values in found.values()] == [1, 2, 1, 1, 2, 2, 2]
    everywhere = np.ones(SIZE, bool)
    for name in ("watershed on the distance", "borders"):
        assert touching.score(TRUE, found[name], everywhere)["ap75"] == 1
    # One piece covers the two: its IoU with either is about a half.
    assert touching.score(TRUE, found["components"], everywhere)["ap75"] == 0


def test_the_touching_objects_are_those_with_a_neighbour():
    true = TRUE.copy()
    true[:3, :3] = 9
    found = np.where(true == 1, 4, np.where(true == 9, 5, 0))
    scored = touching.score(true, found, np.ones(SIZE, bool))
    assert scored["touching"] == 0.5
    assert scored["ap50"] == pytest.approx(2 / 3)
    assert np.isnan(touching.score(np.where(true == 9, 9, 0), found, np.ones(SIZE, bool))["touching"])


def test_a_cell_has_its_interval():
    base, other = (of_images([[0.5 + add, 0.6, 0.7 + add]]) for add in (0.0, 0.1))
    assert touching.mean_cell(base) == "0.600 (0.348 to 0.809)"
    # The differences are 0.1, 0 and 0.1.
    assert touching.gain_cell(other, base, same_seeds=True) == "+0.067 (-0.077 to +0.208)"
