"""Images, masks and instances are paired by their names, and what has no partner is listed with the nearest names."""

import numpy as np
import pytest
import tifffile
from helpers.image_folders import GREY, IDS

from unet_jax.data.datasets.folder import names
from unet_jax.errors import UserError


@pytest.mark.parametrize("suffix", [".tif", ".png", ".ome.tiff"])
def test_a_suffix_of_two_parts_does_not_belong_to_the_name(folder, suffix):
    (folder.root / "images").mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder.root / "images/cells.v2.ome.tif", GREY, metadata={"axes": "YX"})
    if suffix == ".ome.tiff":
        (folder.root / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(folder.root / "masks/cells.v2.ome.tiff", IDS, metadata={"axes": "YX"})
    else:
        folder.write(f"masks/cells.v2{suffix}", IDS)
    np.testing.assert_array_equal(folder.examples()["cells.v2"]["mask"], IDS)
    folder.write("images/cells.v2.png", GREY)
    folder.raises(r"cells\.v2\.png: has the same name as cells\.v2\.ome\.tif")


def test_patterns_say_how_the_files_are_named(folder):
    for number in ("001", "002"):
        folder.write(f"images/image_{number}.png", GREY)
        folder.write(f"masks/mask_{number}.png", IDS)
        folder.write(f"instances/{number}_cells.png", IDS)
    given = {"image_name": "image_{stem}", "mask_name": "mask_{stem}", "instance_name": "{stem}_cells"}
    folder.write("index.csv", "id,split\n001,train\n002,train\n")
    examples = folder.examples(**given)
    assert sorted(examples) == ["001", "002"]
    np.testing.assert_array_equal(examples["001"]["instances"], IDS)
    folder.write("masks/old_001.png", IDS)
    folder.raises(r"masks/old_001\.png: .*not fit data\.mask_name='mask_\{stem\}' \(1 such files\); rename", **given)


@pytest.mark.parametrize(
    ("image", "mask", "remedy"),
    [
        ("image_{}", "mask_{}", "set data.image_name='image_{stem}' and data.mask_name='mask_{stem}'"),
        ("{}", "{}_mask", "set data.mask_name='{stem}_mask'"),
        ("plate 7 {}_raw", "plate 7 {}_raw labels", "set data.mask_name='{stem} labels'"),
    ],
)
def test_the_setting_that_pairs_all_files_is_named(folder, image, mask, remedy):
    for number in ("001", "002"):
        folder.write(f"images/{image.format(number)}.png", GREY)
        folder.write(f"masks/{mask.format(number)}.png", IDS)
    with pytest.raises(UserError) as error:
        folder.create()
    assert str(error.value).endswith(f"(2 such images); {remedy}")
    options = dict(part.split("=") for part in remedy.removeprefix("set ").split(" and "))
    folder.create(**{name.removeprefix("data."): value.strip("'") for name, value in options.items()})


def test_the_nearest_names_are_listed(folder):
    folder.pair("b")
    folder.write("images/cell_07.png", GREY), folder.write("masks/cell_7.png", IDS)
    folder.raises(r"cell_07\.png: has no file cell_07\.\* in \S*masks, but there is 'cell_7' \(1 such .*; add the file")


@pytest.mark.parametrize("pattern", ["mask", "{stem}/{stem}", "masks/{stem}"])
def test_a_pattern_without_one_stem_is_refused(folder, pattern):
    folder.pair("a")
    folder.raises(r"data\.mask_name='.*' must be the name", mask_name=pattern)


def test_no_setting_is_named_that_leaves_images_without_masks():
    assert names.suggest(["a_1", "b_2"], ["mask_1"]) is None
    assert names.suggest([], ["mask_1"]) is None
