"""Outlines: they have the area of their objects, are valid, and give the masks back."""

import numpy as np
import pytest
import skimage.measure
from helpers.blobs import blobs, label_in_bands, spiral, whole

from unet_jax.inference.large import scratch
from unet_jax.measurement.components import Labels
from unet_jax.measurement.outlines import trace


def trace_all(labels):
    boxes = skimage.measure.regionprops(whole(labels).astype(np.int32))
    return [trace(labels, region.label, region.bbox) for region in boxes]


def drawn(polygons, shape):
    """Returns the pixels whose middles are inside of an odd number of rings."""
    middles = np.stack(np.indices(shape), -1).reshape(-1, 2)[:, ::-1] + 0.5
    rings = [ring for polygon in polygons for ring in polygon]
    return np.sum([skimage.measure.points_in_poly(middles, ring) for ring in rings], axis=0).reshape(shape) % 2 == 1


def area(ring):
    x, y = np.array(ring).T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


@pytest.mark.parametrize("sigma", [0, 1, 2])
@pytest.mark.parametrize("connectivity", [1, 2])
def test_outlines_give_the_objects_back(sigma, connectivity):
    labels = label_in_bands(blobs(1, (30, 25), sigma, 0.6), connectivity, 30)
    for number, polygons in enumerate(trace_all(labels), start=1):
        np.testing.assert_array_equal(drawn(polygons, labels.shape), whole(labels) == number)
        for outer, *holes in polygons:
            # Clockwise on the screen, and holes the other way.
            assert area(outer) > 0
            assert all(area(hole) < 0 for hole in holes)
            assert all(drawn([[outer]], labels.shape)[drawn([[hole]], labels.shape)].all() for hole in holes)
            assert sum(map(area, (outer, *holes))) > 0
        assert sum(area(ring) for polygon in polygons for ring in polygon) == labels.areas[number - 1]


@pytest.mark.parametrize("seed", range(6))
def test_no_ring_passes_a_point_twice_and_only_turns_are_points(seed):
    labels = label_in_bands(blobs(seed, (30, 25), 0, 0.65), 2, 30)
    for polygons in trace_all(labels):
        for ring in (ring for polygon in polygons for ring in polygon):
            assert len(set(ring)) == len(ring)
            steps = np.sign(np.diff(np.array([*ring, *ring[:2]]), axis=0))
            assert (abs(steps).sum(1) == 1).all()
            assert (steps[1:] != steps[:-1]).any(1).all()


def test_cases_by_hand():
    square = np.zeros((5, 5), int)
    square[1:4, 1:4] = 1
    square[2, 2] = 0
    assert trace_all(Labels.of(square)) == [[[[(1, 1), (4, 1), (4, 4), (1, 4)], [(2, 2), (2, 3), (3, 3), (3, 2)]]]]
    # Parts that share a corner.
    assert trace_all(Labels.of(np.eye(2, dtype=int))) == [
        [[[(0, 0), (1, 0), (1, 1), (0, 1)]], [[(1, 1), (2, 1), (2, 2), (1, 2)]]]
    ]


def test_a_hole_that_touches_the_outside_at_a_corner():
    mask = np.ones((4, 4), int)
    mask[0, 0] = mask[1, 1] = 0
    (polygon,) = trace_all(Labels.of(mask))[0]
    assert len(polygon) == 2
    assert sorted(polygon[1]) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_hole_belongs_to_the_innermost_part_around_it():
    """A ring, and inside of it a ring that shares a corner with it."""
    mask = np.zeros((9, 9), int)
    mask[0, :] = mask[8, :] = mask[:, 0] = mask[:, 8] = 1
    mask[1, 1] = 1
    mask[2:5, 2:5] = 1
    mask[3, 3] = 0
    polygons = trace(Labels.of(mask), 1, (0, 0, 9, 9))
    assert [len(polygon) for polygon in polygons] == [2, 2]
    assert sorted(polygons[1][1]) == [(3, 3), (3, 4), (4, 3), (4, 4)]


def test_bands_change_nothing(monkeypatch):
    labels = label_in_bands(np.pad(spiral(), 3) | np.pad(blobs(2, (41, 41)), 3), 2, 47)
    expected = trace_all(labels)
    monkeypatch.setattr(scratch, "BAND_BYTES", 1)
    assert trace_all(labels) == expected
