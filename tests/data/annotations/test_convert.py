"""The folder that is written, and that it is read as it is."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from helpers.annotations import SIZE, SQUARE
from PIL import Image

from unet_jax.data.annotations import convert, paint
from unet_jax.data.annotations.objects import Annotated, Annotations, Crop, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.registry import FORMATS, Format
from unet_jax.data.datasets.image_folder import load_image_folder
from unet_jax.errors import UserError


def square(label, top, left, side=4, order=0):
    return Object(label, Crop(np.ones((side, side), bool), top, left), order)


@pytest.fixture
def made(sources, monkeypatch):
    """Imports annotations that a test makes, as a format of its own."""

    def run(*images, labels=("a", "b"), instances=True, fails=False, **options):
        def every():
            yield from images
            if fails:
                raise KeyError

        annotations = Annotations(labels, every(), instances)
        monkeypatch.setitem(FORMATS, "made", Format(lambda source: False, lambda source, options: annotations))
        return sources.convert(format_="made", **options)

    return run


def test_the_folder_is_read_as_it_is(sources, made, tmp_path):
    for name in "abc":
        sources.image(f"{name}.png")
    images = [sources.root / f"{name}.png" for name in "abc"]
    facts = made(
        Annotated(images[0], 0, SIZE, (square("b", 2, 3), square("a", 8, 8)), "train"),
        Annotated(images[1], 0, SIZE, (), "train"),
        Annotated(images[2], 0, SIZE, (square("void", 0, 0, 2),), "val"),
    )
    dataset = load_image_folder(str(sources.out), cache_dir=str(tmp_path / "cache"), **facts["data"])
    assert dataset.splits == {"train": 2, "val": 1}
    assert dataset.class_names == ("background", "a", "b")
    example = dataset.source("train")[0]
    assert (example["mask"][3, 4], example["mask"][9, 9]) == (2, 1)
    assert np.unique(example["instances"]).tolist() == [0, 1, 2]
    assert np.unique(dataset.source("val")[0]["mask"]).tolist() == [0, 255]
    assert (sources.out / "images/a.png").read_bytes() == images[0].read_bytes()
    assert (sources.out / "classes.txt").read_text() == "background\na\nb\n"
    written = json.loads((sources.out / "import.json").read_text())
    assert written == facts
    assert written["objects"] == {"a": 1, "b": 1, "void": 1}


def test_a_folder_that_holds_something_is_never_touched(sources, made):
    image = sources.image("a.png")
    sources.out.mkdir()
    (sources.out / "notes.txt").touch()
    with pytest.raises(UserError, match="out: is there already"):
        made(Annotated(image, 0, SIZE, ()))
    assert [path.name for path in sources.out.iterdir()] == ["notes.txt"]
    (sources.out / "notes.txt").unlink()
    made(Annotated(image, 0, SIZE, ()))
    assert sources.mask("a").max() == 0


def test_nothing_is_left_of_an_import_that_fails(sources, made):
    images = [sources.image(f"{name}.png") for name in "ab"]
    with pytest.raises(KeyError):
        made(*(Annotated(image, 0, SIZE, ()) for image in images), fails=True)
    assert [path.name for path in sources.out.parent.iterdir()] == ["source"]


def test_a_higher_order_wins_whatever_the_place(sources, made):
    image = sources.image("a.png")
    made(Annotated(image, 0, SIZE, (square("a", 2, 2, order=2), square("b", 4, 4, order=1))))
    assert sources.mask("a")[5, 5] == 1


def test_objects_without_a_pixel_are_counted(sources, made):
    image = sources.image("a.png")
    nothing = Object("a", Crop(np.zeros((0, 0), bool), 0, 0))
    made(Annotated(image, 0, SIZE, (square("a", 2, 2, 2), square("b", 1, 1), nothing)))
    assert sources.notes == [
        "1 objects have no pixel: later ones cover them",
        "1 objects have no pixel: they lie outside their image, or between the centres of pixels",
    ]


def test_masks_of_classes_have_no_instances(sources, made):
    made(Annotated(sources.image("a.png"), 0, SIZE, (square("a", 2, 2),)), instances=False)
    assert not (sources.out / "instances").exists()


def test_names_that_only_the_objects_give_are_sorted(sources, made):
    image = sources.image("a.png")
    facts = made(Annotated(image, 0, SIZE, (square("z", 2, 2), square("c", 8, 8))), labels=())
    assert facts["data"]["class_names"] == ["background", "c", "z"]


def test_images_of_one_name(sources, made):
    images = [sources.image(f"{folder}/a.png") for folder in ("x", "y", "x/y")]
    made(*(Annotated(image, 0, SIZE, ()) for image in images[:2]))
    assert sorted(path.name for path in (sources.out / "masks").iterdir()) == ["a.png", "y_a.png"]
    shutil.rmtree(sources.out)
    with pytest.raises(UserError, match=r"x/y/a.png: another image has the name 'y_a', too"):
        made(*(Annotated(image, 0, SIZE, ()) for image in images))


def test_an_image_that_is_annotated_twice_is_refused(sources, made):
    images = [sources.image("a.png"), sources.image("b.png")]
    first, second = (Annotated(image, 0, SIZE, ()) for image in images)
    for order in ((first, first), (first, second, first)):
        with pytest.raises(UserError, match=r"a.png: is annotated twice"):
            made(*order)


def test_an_image_without_a_split_beside_others_is_refused(sources, made):
    images = [sources.image(f"{name}.png") for name in "abc"]
    with pytest.raises(UserError, match="the image c is in no split, others are in train, val"):
        made(*(Annotated(path, 0, SIZE, (), split) for path, split in zip(images, ("train", "val", ""), strict=True)))


def test_a_suffix_that_a_folder_does_not_read_is_refused(sources, made):
    image = sources.image("a.png").rename(sources.root / "a.img")
    with pytest.raises(UserError, match=r"a.img: its suffix is not one of .png, .tif"):
        made(Annotated(image, 0, SIZE, ()))


def test_the_pages_of_a_stack(sources, made):
    image = sources.root / "a.tif"
    sources.root.mkdir()
    tifffile.imwrite(image, np.zeros((3, *SIZE), np.uint8), photometric="minisblack", metadata={"axes": "ZYX"})
    pages = [Annotated(image, 0, SIZE, (square("a", 2, 2),)), Annotated(image, 2, SIZE, (square("b", 8, 8),))]
    with pytest.raises(UserError, match=r"a.tif: the source says nothing about page 2 of 3"):
        made(*pages)
    made(*pages, unannotated="background")
    masks = tifffile.imread(sources.out / "masks/a.tif")
    assert masks.shape == (3, *SIZE)
    assert [page.max() for page in masks] == [1, 0, 2]


def test_more_objects_than_16_bits_hold_are_refused():
    objects = (square("a", 0, 0, 1),) * (paint.LARGEST_INSTANCE + 1)
    with pytest.raises(UserError, match=r"a.png: has 65536 objects, instances hold 65535"):
        paint.paint(Annotated("a.png", 0, SIZE, objects), {"a": 1})


def test_more_classes_than_a_mask_holds_are_refused():
    labels = [f"c{number}" for number in range(255)]
    assert paint.class_ids(labels[:254])["c253"] == 254
    with pytest.raises(UserError, match="there are 255 classes; a mask holds 254 and the background"):
        paint.class_ids(labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlaps": "first"}, "--overlaps"),
        ({"unannotated": "no"}, "--unannotated"),
        ({"crowds": "no"}, "--crowds"),
    ],
)
def test_unknown_choices_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        convert.Choice(**options)


def test_unknown_options_are_refused():
    for options in ({"polygon_points": "no"}, {"no_area": "no"}):
        with pytest.raises(UserError, match=f"--{next(iter(options))}"):
            Options(**options)


def test_the_format_is_recognised_or_asked_for(sources):
    sources.image("a.png")
    with pytest.raises(
        UserError, match=r"source: holds no annotations of a known format; name it with --format \(coco"
    ):
        sources.convert()
    with pytest.raises(UserError, match="none: there is no such file or folder"):
        sources.convert("none")
    with pytest.raises(UserError, match="--format=gif: is unknown; choose one of auto, coco"):
        sources.convert(format_="gif")
    sources.write("a.txt", "0 0.1 0.1 0.2 0.2\n")
    sources.write("a.json", {"shapes": [], "imagePath": "a.png"})
    with pytest.raises(
        UserError, match=r"source: holds labelme and yolo annotations; choose one with --format=labelme"
    ):
        sources.convert()
    sources.convert(format_="labelme")


def test_a_file_that_is_no_json(sources):
    sources.write("a.json", "{")
    with pytest.raises(UserError, match=r"a.json: is not JSON"):
        sources.convert()


def test_an_image_that_cannot_be_read_is_refused(sources):
    sources.write("a.png", "no picture")
    sources.write("a.json", {"shapes": [{"label": "x", "points": SQUARE}], "imagePath": "a.png"})
    with pytest.raises(UserError, match=r"a.png: cannot be read as an image"):
        sources.convert()
    Image.new("L", (30, 20)).save(sources.root / "a.png")
    sources.convert()
    assert sources.mask("a").max() == 1
