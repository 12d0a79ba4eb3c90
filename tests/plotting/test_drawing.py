"""Masks drawn over images of any kind."""

import numpy as np

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
