"""Masks that number objects are read as one class and its instances; masks of other kinds are told what they need."""

import cv2
import numpy as np
import pytest
import tifffile
from helpers.image_folders import GREY, IDS

from unet_jax.data.check.survey import survey_folder
from unet_jax.data.datasets import image_files
from unet_jax.errors import UserError

NUMBERED = {"masks": "instances"}
OBJECTS = np.zeros((12, 10), np.uint16)
for number, (top, left) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4), (8, 0), (8, 4)], 1):
    OBJECTS[top : top + 3, left : left + 3] = number


def write(folder, values, id_="a"):
    folder.write(f"images/{id_}.png", GREY)
    (folder.root / "masks").mkdir(exist_ok=True)
    tifffile.imwrite(folder.root / f"masks/{id_}.tif", values, photometric="minisblack")


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "uint32", "int64"])
def test_ids_above_zero_are_one_class_and_the_instances(folder, kind):
    write(folder, (OBJECTS * 42).astype(kind))
    example = folder.examples(**NUMBERED)["a"]
    np.testing.assert_array_equal(example["mask"], OBJECTS > 0)
    # 252 = 6 * 42, and so 255 would be an object, too.
    np.testing.assert_array_equal(example["instances"], OBJECTS * 42)
    assert folder.create(class_names=("ground", "cell"), **NUMBERED).class_names == ("ground", "cell")


def test_255_is_an_object_and_not_void(folder):
    write(folder, np.where(OBJECTS == 3, 255, OBJECTS))
    example = folder.examples(**NUMBERED)["a"]
    assert example["mask"].max() == 1
    assert 255 in example["instances"]


def test_numbers_that_16_bits_do_not_hold_are_replaced_in_their_order(folder):
    write(folder, OBJECTS.astype(np.uint32) * 1_000_000)
    np.testing.assert_array_equal(folder.examples(**NUMBERED)["a"]["instances"], OBJECTS)


def test_more_instances_than_16_bits_number_are_refused():
    values = np.arange(65537, dtype=np.uint32).reshape(1, -1)
    assert image_files.instances_of("a.tif", values[:, :65536]).max() == 65535
    with pytest.raises(UserError, match=r"a\.tif: holds 65536 instances; split"):
        image_files.instances_of("a.tif", values)
    with pytest.raises(UserError, match=r"a\.tif: .*from 0 on"):
        image_files.instances_of("a.tif", values.astype(np.int32) - 1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mask_values": (0, 255)}, "leave mask_values"),
        ({"palette": ((0, 0, 0), (1, 1, 1))}, "leave mask_values and palette"),
        ({"num_classes": 3}, "num_classes=3; give 2"),
        ({"class_names": ("ground", "cell", "wall")}, "numbers of classes differ"),
    ],
)
def test_settings_that_do_not_go_with_numbers_are_refused(folder, options, match):
    write(folder, OBJECTS)
    folder.raises(match, **NUMBERED, **options)


def test_instances_that_are_given_twice_are_refused(folder):
    write(folder, OBJECTS)
    folder.write("instances/a.png", OBJECTS)
    folder.raises("/instances: .*masks='instances'; leave", **NUMBERED)


def errors(folder, **options):
    return [str(error) for error in survey_folder(str(folder.root), **options).errors]


def test_the_check_names_the_setting_for_masks_that_number_objects(folder):
    for number, id_ in enumerate("abcd"):
        write(folder, np.where(6 - number < OBJECTS, 0, OBJECTS), id_)
    folder.write("index.csv", "id,split\na,train\nb,train\nc,val\nd,val\n")
    (line,) = errors(folder)
    assert "like numbers of instances; set masks='instances' (of image_folder) if they number" in line
    assert errors(folder, **NUMBERED) == []


def test_smoothed_masks_are_named_with_the_count_of_their_odd_values(folder):
    big = np.zeros((120, 100), np.uint8)
    cv2.circle(big, (50, 60), 30, 255, -1, cv2.LINE_AA)
    odd = np.count_nonzero((big > 0) & (big < 255))
    for id_ in "ab":
        folder.pair(id_, image=np.resize(GREY, big.shape), mask=big)
    folder.write("index.csv", "id,split\na,train\nb,val\n")
    (line,) = errors(folder)
    assert f"a.png: {odd} of its 12000 pixels hold" in line
    assert "(2 of 2 masks); export the masks without smoothing" in line
    assert line.endswith("set mask_values=(0, 255)")
    assert f", in {odd} of 12000 pixels; " in errors(folder, mask_values=(0, 255))[0]
    for id_ in "ab":
        folder.pair(id_, image=np.resize(GREY, big.shape), mask=(big > 127).astype(np.uint8) * 255)
    assert errors(folder, mask_values=(0, 255)) == []


@pytest.mark.parametrize(
    ("mask", "remedy"),
    [
        (IDS[:-1], "10 x 11 pixels, its image 10 x 12; find out which edge .*one pixel"),
        (IDS.T, "12 x 10 pixels, its image 10 x 12; exchange its rows and columns"),
        (IDS[::2], "10 x 6 pixels, its image 10 x 12; make them the same size"),
    ],
)
def test_sizes_that_differ_have_the_remedy_of_their_kind(folder, mask, remedy):
    folder.pair("a", mask=mask)
    folder.raises(remedy)
