"""Tiles of one picture are found to be one field; others stay apart."""

import itertools

import numpy as np
import pytest
from helpers.originals import tiles

from unet_jax.data.datasets import fields_of_view

RNG = np.random.default_rng(0)


def ids_by_field(images):
    """Returns the sets of ids that share a field."""
    fields = fields_of_view.find_fields(images.items())
    assert fields.keys() == images.keys()
    parts = {frozenset(id_ for id_ in fields if fields[id_] == field) for field in fields.values()}
    assert all(fields[id_] == min(i for i in fields if fields[i] == fields[id_]) for id_ in fields)
    return parts


@pytest.fixture(scope="module")
def cut():
    """Returns twelve fields of 2 x 2 tiles and four of 1 x 3, in mixed order: the ids of each field, and images by id."""
    images, parts = {}, []
    for rows, columns, number in ((2, 2, 12), (1, 3, 4)):
        for _ in range(number):
            part = {f"{RNG.integers(1 << 40):010x}": tile for tile in tiles(RNG, rows, columns)}
            images |= part
            parts.append(frozenset(part))
    return set(parts), {id_: images[id_] for id_ in sorted(images)}


def test_tiles_of_a_picture_are_one_field(cut):
    parts, images = cut
    assert ids_by_field(images) == parts
    coloured = {id_: np.concatenate([image, image // 2, image], -1) for id_, image in images.items()}
    assert ids_by_field(coloured) == parts


def test_near_copies_are_one_field(cut):
    image, other = tiles(RNG, 1, 1)[0], tiles(RNG, 1, 1)[0]
    noisy = (image + RNG.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    assert ids_by_field({"a": image, "b": noisy, "c": other}) == {frozenset("ab"), frozenset("c")}


def test_similar_edges_of_another_brightness_do_not_join():
    """Two edges with one bright nucleus at the same height correlate perfectly; the step between them separates the two."""
    profile = np.exp(-(((np.arange(40) - 20) / 4) ** 2))
    dim, bright = (RNG.normal(size=(40, 40)) * 0.5 + 20 for _ in range(2))
    dim[:, -4:] += 20 * profile[:, None]
    bright[:, :4] += 200 * profile[:, None]
    images = {"a": dim.astype(np.uint8)[..., None], "b": bright.astype(np.uint8)[..., None]}
    assert len(ids_by_field(images)) == 2
    # The mirrored tile begins as the other ends.
    assert len(ids_by_field(images | {"b": images["a"][:, ::-1]})) == 1


def test_constant_tiles_and_other_sizes_stay_apart():
    flat = {name: np.full((8, 8, 1), 9, np.uint8) for name in "ab"}
    sizes = {f"{h}x{w}": np.arange(h * w, dtype=np.uint8).reshape(h, w, 1) for h, w in ((8, 9), (9, 8), (1, 1), (4, 1))}
    assert all(len(part) == 1 for part in ids_by_field(flat | sizes))


def test_only_the_best_match_of_both_is_a_join():
    first, second = tiles(RNG, 1, 2)
    rival = tiles(RNG, 1, 1)[0]
    # Its end is like the end of the first tile, only noisy.
    blend = np.linspace(1, 0, 40)[None, :, None]
    rival[:, -40:] = rival[:, -40:] * blend + first[:, -40:] * (1 - blend)
    rival[:, -1] = (first[:, -1] + RNG.normal(0, 8, first[:, -1].shape)).clip(0, 255)
    assert np.corrcoef(rival[:, -1, 0], second[:, 0, 0])[0, 1] > fields_of_view.JOIN
    assert ids_by_field({"a": first, "b": second, "c": rival}) == {frozenset("ab"), frozenset("c")}


def test_the_order_of_images_does_not_count(cut):
    _, images = cut
    first = dict(itertools.islice(images.items(), 20))
    assert fields_of_view.find_fields(first.items()) == fields_of_view.find_fields(reversed(first.items()))
