"""Folders of PASCAL VOC and of CVAT's mask export: palettes, colours, objects, splits, and what is refused."""

import numpy as np
import pytest
from helpers.annotated import named, painted, read
from helpers.annotations import SIZE
from PIL import Image

from unet_jax.errors import UserError

# VOC's colours of 0, 1, 2 and 255.
COLOURS = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 255: (224, 224, 192)}
MAP = "# label:color_rgb:parts:actions\ncat:10,20,30::\nbackground:0,0,0::\ndog: a:40,50,60::\n"


def classes():
    mask = np.zeros(SIZE, np.uint8)
    mask[2:6, 2:20], mask[8:12, 2:8], mask[:, 25] = 1, 2, 255
    return mask


def numbers():
    """Two objects of class 1 that touch, and one of class 2."""
    mask = classes()
    mask[2:6, 10:20] = 3
    return mask


def save(sources, name, mask, root=""):
    path = sources.root / root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    if mask.ndim == 2:
        table = np.zeros((256, 3), np.uint8)
        for index, colour in COLOURS.items():
            table[index] = colour
        image.putpalette(table.tobytes())
    image.save(path)


def voc(sources, root="", objects=True):
    sources.image(f"{root}JPEGImages/a.jpg")
    save(sources, "SegmentationClass/a.png", classes(), root)
    if objects:
        save(sources, "SegmentationObject/a.png", numbers(), root)
    return sources.root


def test_an_index_is_a_class_and_255_is_void(sources):
    voc(sources)
    facts = sources.convert()
    assert facts["data"]["class_names"] == ["background", "class 1", "class 2"]
    np.testing.assert_array_equal(sources.mask("a"), classes())
    instances = sources.mask("a", "instances")
    assert len(np.unique(instances[2:6, 2:10])) == 1
    assert sorted({int(instances[3, 3]), int(instances[3, 15]), int(instances[9, 3])}) == [1, 2, 3]
    assert not instances[:, 25].any()


def test_without_objects_there_are_no_instances(sources):
    voc(sources, objects=False)
    sources.convert()
    np.testing.assert_array_equal(sources.mask("a"), classes())
    assert not (sources.out / "instances").exists()


def test_a_file_names_the_classes(sources):
    voc(sources)
    sources.write("classes.txt", "background\ncat\ndog\n")
    assert set(painted(read(sources.root))) == {"cat", "dog", "void"}
    sources.write("classes.txt", "background\ncat\n")
    with pytest.raises(UserError, match=r"SegmentationClass/a\.png: holds index 2, but there are 2 classes"):
        read(sources.root)


def test_lists_give_the_splits_and_choose_the_images(sources):
    voc(sources)
    for id_ in "bc":
        sources.image(f"JPEGImages/{id_}.jpg")
    for folder, mask in (("Class", classes()), ("Object", numbers())):
        save(sources, f"Segmentation{folder}/b.png", mask)
    for name, ids in (("train", "a\n"), ("val", "b\n"), ("trainval", "a\nb\n")):
        sources.write(f"ImageSets/Segmentation/{name}.txt", ids)
    assert {image.image.stem: image.split for image in read(sources.root)} == {"a": "train", "b": "val"}
    sources.write("ImageSets/Segmentation/test.txt", "a\n")
    with pytest.raises(UserError, match="names 'a', which is in the split test, too"):
        read(sources.root)


def test_an_image_without_mask_says_nothing(sources):
    voc(sources)
    sources.image("JPEGImages/b.jpg")
    assert named(read(sources.root))["b.jpg"] is None


def test_the_folder_may_lie_deeper_but_once(sources):
    voc(sources, "VOCdevkit/VOC2012/")
    assert set(painted(read(sources.root))) == {"class 1", "class 2", "void"}
    voc(sources, "VOCdevkit/VOC2007/")
    with pytest.raises(UserError, match=r"holds 2 folders SegmentationClass .*VOC2007"):
        read(sources.root)


def cvat(sources, objects=True):
    """The export of CVAT: RGB masks, colours from labelmap.txt, images not in JPEGImages."""
    colours = np.zeros((256, 3), np.uint8)
    colours[1], colours[2], colours[255] = (10, 20, 30), (40, 50, 60), COLOURS[255]
    sources.image("images/a.png")
    save(sources, "SegmentationClass/a.png", colours[classes()])
    if objects:
        colours[1], colours[2], colours[3] = (128, 0, 0), (0, 128, 0), (128, 128, 0)
        save(sources, "SegmentationObject/a.png", colours[numbers()])
    sources.write("labelmap.txt", MAP)
    sources.write("ImageSets/Segmentation/default.txt", "a\n")


def test_colours_come_from_the_file_and_background_need_not_be_first(sources):
    cvat(sources)
    facts = sources.convert(images=str(sources.root / "images"))
    assert facts["data"]["class_names"] == ["background", "cat", "dog: a"]
    np.testing.assert_array_equal(sources.mask("a"), classes())
    assert facts["objects"] == {"cat": 2, "dog: a": 1, "void": 1}


def test_a_palette_is_read_by_its_colours_where_a_file_names_them(sources):
    cvat(sources, objects=False)
    save(sources, "SegmentationClass/a.png", classes())
    sources.write("labelmap.txt", "dog:0,128,0::\ncat:128,0,0::\nbackground:0,0,0::\n")
    masks = painted(read(sources.root, images=str(sources.root / "images")))
    np.testing.assert_array_equal(masks["dog"], classes() == 2)
    np.testing.assert_array_equal(masks["void"], classes() == 255)


def test_a_grey_mask_holds_the_numbers_of_the_lines(sources):
    cvat(sources, objects=False)
    Image.fromarray(np.where(classes() == 1, 0, 1).astype(np.uint8)).save(sources.root / "SegmentationClass/a.png")
    masks = painted(read(sources.root, images=str(sources.root / "images")))
    assert set(masks) == {"cat"}
    np.testing.assert_array_equal(masks["cat"], classes() == 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat:10,20::\n", "line 1 'cat:10,20::' is not NAME:R,G,B::"),
        ("cat:10,20,256::\n", "line 1 .* with 0..255"),
        ("cat:1,2,3::\ndog:1,2,3::\n", "line 2 repeats a name or a colour"),
        ("# none\n", "names no class"),
        ("cat:10,20,30::\nbackground:0,0,0::\n", r"SegmentationClass/a\.png: holds 1 colours .* such as .40, 50, 60"),
    ],
)
def test_faults_of_the_colours_are_refused(sources, text, message):
    cvat(sources)
    sources.write("labelmap.txt", text)
    with pytest.raises(UserError, match=message):
        read(sources.root, images=str(sources.root / "images"))


def test_rgb_without_colours_is_refused(sources):
    cvat(sources)
    (sources.root / "labelmap.txt").unlink()
    with pytest.raises(UserError, match=r"SegmentationClass/a\.png: is RGB, and no labelmap\.txt"):
        read(sources.root, images=str(sources.root / "images"))


def test_masks_that_contradict_each_other_are_refused(sources):
    voc(sources)
    wrong = numbers()
    wrong[9:11, 3] = 1
    save(sources, "SegmentationObject/a.png", wrong)
    with pytest.raises(UserError, match="an object has pixels of class 1, class 2 in SegmentationClass"):
        read(sources.root)
    wrong = numbers()
    wrong[3, 4] = 0
    save(sources, "SegmentationObject/a.png", wrong)
    with pytest.raises(UserError, match="1 pixels of a class belong to no object, first in column 4, row 3"):
        read(sources.root)
    save(sources, "SegmentationObject/a.png", numbers()[:-1])
    with pytest.raises(UserError, match=r"SegmentationObject/a\.png: has 30 x 19 pixels, .*a\.jpg has 30 x 20"):
        read(sources.root)
    (sources.root / "SegmentationObject/a.png").rename(sources.root / "SegmentationObject/b.png")
    with pytest.raises(UserError, match=r"SegmentationObject/a\.png: is missing"):
        read(sources.root)


def test_a_mask_needs_its_image(sources):
    voc(sources)
    save(sources, "SegmentationClass/b.png", classes())
    with pytest.raises(UserError, match=r"JPEGImages: has no image 'b', but .*b\.png is its mask"):
        read(sources.root)


@pytest.mark.parametrize("name", ["JPEGImages/a.png", "SegmentationClass/a.tif"])
def test_two_files_of_one_id_are_refused(sources, name):
    voc(sources)
    sources.image(name)
    with pytest.raises(UserError, match=r"counts under the same name 'a' as"):
        sources.convert()
