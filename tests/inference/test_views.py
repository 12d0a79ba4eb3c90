"""Views of an image: which they are, back again, and which of them a network was trained on."""

import re

import numpy as np
import pytest

from unet_jax.data.augment.options import AugmentOptions
from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.errors import UserError
from unet_jax.inference.views import VIEWS, ViewRows, check_trained, named_views

IMAGE = np.arange(5 * 7 * 2).reshape(5, 7, 2)


def as_set(arrays):
    return {(array.shape, array.tobytes()) for array in map(np.ascontiguousarray, arrays)}


def test_the_views_are_those_of_numpy():
    turned = [np.rot90(IMAGE, k) for k in range(4)]
    flipped = [IMAGE, np.flipud(IMAGE), np.fliplr(IMAGE), np.rot90(IMAGE, 2)]
    expected = {"": [IMAGE], "flips": flipped, "turns": turned, "all": [*turned, *map(np.fliplr, turned)]}
    assert sorted(VIEWS) == sorted(expected)
    for name, arrays in expected.items():
        seen = [view.apply(IMAGE) for view in VIEWS[name]]
        assert len(seen) == len(arrays) == len(as_set(arrays))
        assert as_set(seen) == as_set(arrays)
        np.testing.assert_array_equal(seen[0], IMAGE)


@pytest.mark.parametrize("view", VIEWS["all"])
def test_a_view_and_back_copies_nothing(view):
    np.testing.assert_array_equal(view.invert(view.apply(IMAGE)), IMAGE)
    written = np.zeros((5, 7))
    view.apply(written)[...] = view.apply(IMAGE[..., 0])
    np.testing.assert_array_equal(written, IMAGE[..., 0])


@pytest.mark.parametrize("view", VIEWS["flips"])
def test_rows_of_a_flip_are_read_one_band_at_a_time(view):
    asked = []

    class Recorded(ArrayRows):
        def read(self, start, stop):
            asked.append(stop - start)
            return super().read(start, stop)

    rows = ViewRows(Recorded(IMAGE), view)
    bands = [rows.read(start, stop) for start, stop in ((0, 2), (2, 3), (3, 5))]
    np.testing.assert_array_equal(np.concatenate(bands), view.apply(IMAGE))
    assert (rows.shape, rows.dtype, asked) == (IMAGE.shape, IMAGE.dtype, [2, 1, 2])


@pytest.mark.parametrize(
    ("options", "patch", "trained"),
    [
        ({}, (32, 32), []),
        ({"flip": True}, (32, 48), ["flips"]),
        ({"quarter_turns": True}, (32, 32), ["turns"]),
        ({"flip": True, "quarter_turns": True}, (32, 32), ["flips", "turns", "all"]),
        # Such windows are turned by half a turn alone.
        ({"flip": True, "quarter_turns": True}, (32, 48), ["flips"]),
        ({"rotate": 180.0}, (32, 48), ["turns"]),
        ({"rotate": 180.0, "probability": {"rotate": 0.0}}, (32, 32), []),
        ({"rotate": 90.0, "flip": True}, (32, 32), ["flips"]),
    ],
)
def test_only_views_of_the_training_are_allowed(options, patch, trained):
    check_trained("", AugmentOptions(**options), patch, "runs/a")
    for name in ("flips", "turns", "all"):
        if name in trained:
            check_trained(name, AugmentOptions(**options), patch, "runs/a")
        else:
            with pytest.raises(
                UserError, match=rf"^views '{name}': runs/a was not trained on .*--force_views"
            ) as error:
                check_trained(name, AugmentOptions(**options), patch, "runs/a")
            named = set(re.findall(r"augment\.(\w+) is off", str(error.value)))
            assert not any(options.get(key) for key in named)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"^views 'mirror' is unknown; known: flips, turns, all$"):
        named_views("mirror")
