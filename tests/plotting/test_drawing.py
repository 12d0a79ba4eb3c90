"""Masks drawn over images of any kind."""

import numpy as np
import pytest

from unet_jax.plotting import drawing

NAMES = ("background", "anode", "cathode")


def test_all_images_but_8_bit_ones_are_stretched():
    ramp = np.linspace(1000, 3000, 400).reshape(20, 20)
    for image in (ramp.astype(np.uint16), ramp.astype(np.uint16)[..., None], ramp / 1e6):
        shown = drawing.to_display(image)
        assert shown.shape == (20, 20, 3)
        assert (shown.dtype, shown.min(), shown.max()) == (np.uint8, 0, 255)
    eight = np.arange(100, 200, dtype=np.uint8).reshape(10, 10)
    np.testing.assert_array_equal(drawing.to_display(eight), np.stack([eight] * 3, -1))
    # A constant image divides by nothing.
    assert drawing.to_display(np.full((4, 4), 7, np.uint16)).max() == 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 4, 7])
def test_of_other_channels_the_first_three_are_stretched_each_on_its_own(channels, dtype):
    ramp = np.linspace(0, 1, 400).reshape(20, 20, 1)
    image = (ramp * [[[20, 50, 200, 1, 1, 1, 1][:channels]]] + 10).astype(dtype)
    shown = drawing.to_display(image)
    assert (shown.dtype, shown.shape) == (np.uint8, (20, 20, 3))
    assert shown.max((0, 1)).tolist() == ([255, 255, 0] if channels == 2 else [255] * 3)
    assert shown.min() == 0
    # Another image by the limits of this one.
    np.testing.assert_array_equal(drawing.to_display(image[::-1], drawing.display_limits(image)), shown[::-1])


def test_unknown_pixels_are_void_and_stretch_nothing():
    image = np.random.default_rng(0).random((20, 20, 7)).astype(np.float32)
    holed = image.copy()
    holed[3, 4, 6], holed[5, 6, 0] = np.nan, np.inf
    shown, known = drawing.to_display(holed), np.ones((20, 20), bool)
    known[3, 4] = known[5, 6] = False
    assert (shown[~known] == drawing.VOID_COLOUR).all()
    np.testing.assert_allclose(shown[known].astype(int), drawing.to_display(image)[known].astype(int), atol=3)
    assert (drawing.to_display(np.full((2, 3, 1), np.nan, np.float32)) == drawing.VOID_COLOUR).all()


def test_paint_colours_the_mask_alone():
    rgb, masks = np.full((9, 9, 3), 100, np.uint8), np.zeros((9, 9, 2), bool)
    masks[1:6, 1:6, 0] = masks[3:8, 3:8, 1] = True
    painted = drawing.draw_masks(rgb, masks, [(255, 0, 0), (0, 0, 255)], fill=0.5)
    np.testing.assert_array_equal(painted[~masks.any(-1)], 100)
    # Outline.
    assert painted[1, 1].tolist() == [255, 0, 0]
    # Fill.
    assert painted[2, 2].tolist() == [178, 50, 50]
    # Both: colours mixed.
    assert painted[4, 4].tolist() == [114, 50, 114]


def test_colours():
    assert drawing.class_colours(NAMES)[1] == drawing.class_colours(("plate",))[0] == drawing.FOREGROUND[0]
    palette = ((0, 0, 0), (1, 2, 3), (4, 5, 6))
    assert drawing.class_colours(NAMES, palette) == (drawing.BACKGROUND, (1, 2, 3), (4, 5, 6))
    assert len(drawing.class_colours([str(i) for i in range(20)])) == 20
