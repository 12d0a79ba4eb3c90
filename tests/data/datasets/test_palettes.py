"""Indexed masks: the config's palette decides by colour, `mask_values` by index or grey level, and orders are compared."""

import numpy as np
import pytest
from helpers.image_folders import IDS
from PIL import Image

from unet_jax.data.datasets import image_files, palettes
from unet_jax.errors import UserError

BLACK, RED, BLUE, WHITE = (0, 0, 0), (255, 0, 0), (0, 0, 255), (255, 255, 255)
CLASSES = (BLACK, RED, BLUE)


def indexed(indices, colours):
    image = Image.fromarray(np.asarray(indices, np.uint8))
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def reordered(order):
    """Returns the picture of IDS in the colours of the classes, whose file has them in another order."""
    return indexed(np.array([order.index(colour) for colour in CLASSES])[IDS], order)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_the_palette_of_the_config_decides_by_colour(folder, suffix):
    orders = (CLASSES, (RED, BLACK, BLUE), (BLUE, RED, BLACK))
    for name, order in zip("abc", orders, strict=True):
        folder.pair(name, mask=reordered(order), mask_suffix=suffix)
    for example in folder.examples(palette=CLASSES).values():
        np.testing.assert_array_equal(example["mask"], IDS)
        assert set(example) == {"image", "mask", "id", "group"}
    folder.raises(rf"masks/(b|c)\{suffix}: .*index.*masks/a\{suffix}.*palette")


def test_one_order_needs_no_palette(folder):
    folder.pair("a", mask=indexed(IDS, (RED, BLUE, BLACK)))
    # Colours that no pixel has do not matter.
    folder.pair("b", mask=indexed(IDS % 2, (RED, BLUE, WHITE)))
    folder.pair("c", mask=IDS)
    examples = folder.examples()
    for name, want in {"a": IDS, "b": IDS % 2, "c": IDS}.items():
        np.testing.assert_array_equal(examples[name]["mask"], want)


def test_void_is_index_255_unless_its_colour_is_a_class(folder):
    void = np.where(IDS == 2, 255, IDS)
    for last, want in ((WHITE, 255), (BLUE, 2)):
        folder.pair("a", mask=indexed(void, (BLACK, RED, *[WHITE] * 253, last)))
        np.testing.assert_array_equal(folder.examples(palette=CLASSES)["a"]["mask"], np.where(IDS == 2, want, IDS))
    folder.pair("a", mask=indexed(IDS, (BLACK, RED, WHITE)))
    folder.raises(r"masks/a\.png: .*\(255, 255, 255\).*palette", palette=CLASSES)


def test_the_plain_grey_scale_is_no_palette(folder):
    for suffix in (".bmp", ".png"):
        folder.pair("a", mask=indexed(IDS, [(i, i, i) for i in range(256)]), mask_suffix=suffix)
        np.testing.assert_array_equal(folder.examples(palette=CLASSES)["a"]["mask"], IDS)
        (folder.root / f"masks/a{suffix}").unlink()


GREYS = {
    # mask_values, palette, indices, right ids (None: refused).
    "indices": ((0, 1), (BLACK, WHITE), [0, 1], [0, 1]),
    "levels": ((0, 255), (BLACK, WHITE), [0, 1], [0, 1]),
    "levels, reversed": ((0, 255), (WHITE, BLACK), [0, 1], [1, 0]),
    "levels and void": ((0, 128), (BLACK, (128,) * 3, WHITE), [0, 1, 2], [0, 1, 255]),
    "colours": ((0, 1), (RED, BLUE), [0, 1], [0, 1]),
    "both": ((0, 255), (WHITE, *[BLACK] * 255), [0, 255], None),
    "neither": ((3, 4), (BLACK, WHITE), [0, 1], None),
}


@pytest.mark.parametrize("case", GREYS.values(), ids=GREYS)
def test_mask_values_are_indices_or_grey_levels(tmp_path, case):
    mask_values, colours, indices, want = case
    indexed([indices], colours).save(tmp_path / "a.png")
    if want is None:
        with pytest.raises(UserError, match=r"a\.png: .*mask_values"):
            image_files.read_mask(tmp_path / "a.png", mask_values)
    else:
        np.testing.assert_array_equal(image_files.read_mask(tmp_path / "a.png", mask_values).ids, [want])


def test_orders_are_compared():
    same = [{0: BLACK, 1: RED}, {0: BLACK}, {1: RED}, {}, {0: BLACK, 1: RED, 2: RED}, {2: RED}]
    palettes.check_orders({f"{number}.png": colours for number, colours in enumerate(same)})
    for one, two in (
        ({0: BLACK, 1: RED}, {0: BLACK, 1: BLUE}),
        ({0: BLACK, 1: RED}, {0: BLACK, 2: RED}),
        ({0: BLACK}, {1: BLACK}),
    ):
        with pytest.raises(UserError, match=r"^two\.png: .*one\.png.*palette"):
            palettes.check_orders({"one.png": one, "two.png": two})
