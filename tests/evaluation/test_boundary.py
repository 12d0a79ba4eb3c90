"""Compares boundary IoU with loops over pixels."""

import numpy as np
import pytest

from unet_jax.evaluation import boundary, metrics


def loop(mask, d):
    """Returns the pixels of a mask `[H, W]` that have a pixel outside the mask, or outside the image, at most d rows and columns away."""
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        around = [(v, u) for v in range(y - d, y + d + 1) for u in range(x - d, x + d + 1)]
        edge[y, x] = any(not (0 <= v < height and 0 <= u < width and mask[v, u]) for v, u in around)
    return edge


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_inner_boundary_is_that_of_a_loop_over_pixels(d):
    rng = np.random.default_rng(d)
    masks = np.stack([rng.random((14, 19)) < share for share in (0.2, 0.9, 0.98)], -1)
    masks[3:12, 2:16, 1] = True
    edge = boundary.inner_boundary(masks, d)
    for k in range(3):
        np.testing.assert_array_equal(edge[..., k], loop(masks[..., k], d))
    assert edge.any()
    assert (edge != masks).any()


def test_a_square_moved_by_a_pixel():
    """By hand: rings of 8 x 8 squares, 28 pixels each, one a column on; both have 6 + 6 of the long sides and none else.

    Columns 2-9 and 3-10 of rows 2-9: rows 2 and 9 share columns 3-9, 14 pixels; the vertical sides share none.
    """
    true, predicted = np.zeros((2, 20, 20, 1), bool)
    true[2:10, 2:10], predicted[2:10, 3:11] = True, True
    counts = boundary.counts(boundary.inner_boundary(predicted, 1), boundary.inner_boundary(true, 1))
    assert {name: value.tolist() for name, value in counts.items()} == {"tp": [14], "fp": [14], "fn": [14]}
    # IoU itself is 56 / 72.
    assert metrics.ratios(counts)["iou"] == pytest.approx(1 / 3)
    # The image's border is a contour.
    assert boundary.inner_boundary(np.ones((6, 6, 1), bool), 1).sum() == 20


def test_the_distance_is_a_share_of_the_diagonal_and_never_none():
    assert boundary.distance(300, 400) == 10
    # 2.5, to even.
    assert boundary.distance(300, 400, 0.005) == 2
    assert boundary.distance(8, 8) == 1
