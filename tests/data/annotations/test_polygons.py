"""Which pixels a polygon covers: one rule for all formats."""

from fractions import Fraction

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from unet_jax.data.annotations.crops import union
from unet_jax.data.annotations.polygons import fill, to_ring
from unet_jax.errors import UserError

SIZE = (40, 48)


def square(low, high):
    return np.array([[low, low], [high, low], [high, high], [low, high]], float)


def filled(rings, size=SIZE, points="corners"):
    """Returns the pixels in a mask of the whole image."""
    mask, top, left = fill(rings, size, points)
    whole = np.zeros(size, bool)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return whole


def filled_by_pycocotools(ring):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([ring.ravel().tolist()], *SIZE))).astype(bool)


def filled_by_fractions(rings):
    """Counts the edges to the left of each centre, without rounding."""
    whole = np.zeros(SIZE, bool)
    edges = [(*map(Fraction, a), *map(Fraction, b)) for ring in rings for a, b in zip(ring, np.roll(ring, -1, 0))]  # noqa: B905
    half = Fraction(1, 2)
    for row in range(SIZE[0]):
        y = row + half
        crossed = [(a, b, c, d) for a, b, c, d in edges if min(b, d) < y <= max(b, d)]
        xs = [a + (y - b) * (c - a) / (d - b) for a, b, c, d in crossed]
        whole[row] = [sum(x < column + half for x in xs) % 2 for column in range(SIZE[1])]
    return whole


def random_ring(rng, step):
    """Returns an outline that may cross itself and leave the image; its coordinates are multiples of `step`, or any for 0."""
    ring = rng.uniform(-6, 54, (rng.integers(3, 12), 2))
    return np.rint(ring / step) * step if step else ring


def nearest_edge(ring, points):
    """Returns the distance of each point to the nearest edge."""
    along = np.roll(ring, -1, 0) - ring
    part = ((points[:, None] - ring) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
    return np.linalg.norm(points[:, None] - ring - np.clip(part, 0, 1)[..., None] * along, axis=-1).min(1)


@pytest.mark.parametrize(
    ("low", "high", "first", "last"), [(2, 12, 2, 11), (2.5, 12.5, 3, 12), (2.49, 12.49, 2, 11), (2.51, 12.51, 3, 12)]
)
def test_a_square(low, high, first, last):
    rows, columns = np.nonzero(filled([square(low, high)]))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (first, last, first, last)
    assert len(rows) == 100
    np.testing.assert_array_equal(filled([square(low, high)]), filled_by_pycocotools(square(low, high)))


@pytest.mark.parametrize("step", [1, 0.5])
def test_whole_and_half_coordinates_are_exact(step):
    rng = np.random.default_rng(0)
    for _ in range(20):
        rings = [random_ring(rng, step) for _ in range(rng.integers(1, 3))]
        np.testing.assert_array_equal(filled(rings), filled_by_fractions(rings))


@pytest.mark.parametrize("step", [1, 0.5, 0])
def test_only_centres_near_an_edge_differ_from_pycocotools(step):
    """pycocotools rounds outlines to a fifth of a pixel, so centres nearer than that to an edge may fall to either side."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        ring = np.clip(random_ring(rng, step), 0, 40)
        rows, columns = np.nonzero(filled([ring]) != filled_by_pycocotools(ring))
        assert len(rows) <= 80
        assert (nearest_edge(ring, np.stack([columns, rows], 1) + 0.5) < 0.2).all()


def test_direction_and_first_corner_do_not_matter():
    ring = random_ring(np.random.default_rng(2), 0)
    for other in (ring[::-1], np.roll(ring, 3, 0)):
        np.testing.assert_array_equal(filled([other]), filled([ring]))


def test_neighbours_share_no_pixel_and_leave_none():
    """The pieces of a fan cover each pixel of the whole once."""
    rng = np.random.default_rng(3)
    corners = rng.uniform(2, 38, (2, 2))
    rim = np.array([[0, 0], [40, 0], [40, 40], [0, 40]], float)
    pieces = [np.stack([rim[i], rim[(i + 1) % 4], corners[0]]) for i in range(4)]
    np.testing.assert_array_equal(sum(filled([piece]).astype(int) for piece in pieces), filled([rim]).astype(int))


def test_a_ring_in_a_ring_is_a_hole():
    assert filled([square(2, 12), square(4, 8)]).sum() == 100 - 16


def test_a_union_keeps_what_the_corner_of_a_later_box_overlaps():
    """The later crop is a triangle: its box holds pixels that only the earlier one has."""
    triangle = np.array([[6, 12], [16, 12], [16, 2]], float)
    joined = union([fill([square(2, 8)], SIZE), fill([triangle], SIZE)])
    assert joined.mask.sum() == (filled([square(2, 8)]) | filled([triangle])).sum()
    assert (joined.top, joined.left) == (2, 2)


def test_what_lies_outside_the_image_is_cut_off():
    assert filled([square(-5, 3)]).sum() == 9
    assert fill([square(100, 110)], SIZE).mask.size == 0
    assert fill([square(-9, -2)], SIZE).mask.size == 0
    assert filled([square(-5, 100)]).all()


def test_an_outline_through_the_centres_of_pixels():
    """An outline that OpenCV finds around a mask gives the same mask, where the rule for corners loses a row and a column."""
    import cv2

    mask = np.zeros(SIZE, np.uint8)
    mask[2:12, 2:12] = 1
    mask[20:30, 30:31] = 1
    for blob in range(3):
        cv2.circle(mask, (10 + 12 * blob, 28), 5 + blob, 1, -1)
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rings = [contour[:, 0].astype(float) for contour in found]
    np.testing.assert_array_equal(filled(rings, points="centres"), mask.astype(bool))
    assert filled([square(2, 11)]).sum() == 81
    assert filled([square(2, 11)], points="centres").sum() == 100


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 2], [3, 4]], "a.json: has 2 points, a polygon has at least 3"),
        ([1, 2, 3, 4, 5], "a.json: its points are not pairs of numbers"),
        ([[1, 2, 3], [1, 2, 3], [4, 5, 6]], "a.json: its points are not pairs of numbers"),
        ([[1, "a"], [3, 4], [5, 6]], "a.json: its points are not pairs of numbers"),
        ("polygon", "a.json: its points are not pairs of numbers"),
        ([[1, 2], [3, float("nan")], [5, 6]], r"a.json: the point \[3.0, nan\] is not in any image"),
        ([[1, 2], [3, 1e9], [5, 6]], r"a.json: the point \[3.0, 1000000000.0\] is not in any image"),
    ],
)
def test_what_is_no_polygon_is_refused(points, message):
    with pytest.raises(UserError, match=message):
        to_ring(points, "a.json")


def test_a_flat_list_of_numbers_is_pairs():
    np.testing.assert_array_equal(to_ring([1, 2, 3, 4, 5, 6], ""), [[1, 2], [3, 4], [5, 6]])
