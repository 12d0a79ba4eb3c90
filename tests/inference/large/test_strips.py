"""Strips cover an image, are pooled as the whole image is, and are cut where they know what the whole image knows."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from unet_jax.inference.large.strips import cut, strip_width


def check(width, graph, of_strip):
    strips = cut(width, of_strip, graph)
    columns = width - 2 * graph.offset
    assert (strips[0].first, strips[-1].stop) == (0, columns)
    assert all(a.stop == b.first for a, b in itertools.pairwise(strips))
    for strip in strips:
        assert strip.first < strip.stop
        assert strip.start % graph.multiple == 0
        assert 0 <= strip.start <= width - of_strip
        # What is taken lies inside the logits of the strip, away from every end that is not the image's.
        left, right = strip.first - strip.start, strip.start + of_strip - 2 * graph.offset - strip.stop
        assert left >= (graph.margin if strip.start else 0)
        assert right >= (graph.margin if strip.start + of_strip < width else 0)
        # The last column of the strip has the place in the grid of the pools that the image's last column has.
        assert (width - strip.start - of_strip) % graph.multiple == 0
    return len(strips)


@pytest.mark.parametrize("offset", [0, 6])
@pytest.mark.parametrize(("multiple", "margin"), [(1, 3), (4, 12), (4, 8), (16, 96)])
def test_strips_cover_are_aligned_and_cut_in_their_margins(multiple, margin, offset):
    rng = np.random.default_rng(0)
    for _ in range(300):
        # A network that takes every size, such as FCN, has images of any width.
        width = int(rng.integers(1, 90)) * multiple + int(rng.choice([0, multiple // 2])) + 2 * offset + margin
        graph = SimpleNamespace(multiple=multiple, margin=margin, offset=offset)
        count = int(rng.integers(1, 12))
        of_strip = strip_width(width, count, graph)
        assert of_strip <= width
        number = check(width, graph, of_strip)
        assert number <= count


def test_one_strip_is_the_image():
    graph = SimpleNamespace(multiple=4, margin=8, offset=2)
    assert cut(40, 40, graph) == [(0, 0, 36)]
    assert strip_width(40, 1, graph) == 40
