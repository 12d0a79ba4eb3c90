"""YOLO segmentation text: names, lines, splits and what is refused."""

import numpy as np
import pytest
from helpers.annotations import SIZE, SQUARE

from unet_jax.errors import UserError

POLYGON = " ".join(f"{x / SIZE[1]} {y / SIZE[0]}" for x, y in SQUARE)
BOX = f"{22 / SIZE[1]} {10 / SIZE[0]} {8 / SIZE[1]} {4 / SIZE[0]}"
NAMES = "cell\nnucleus\n"


def write(sources, lines, names=NAMES):
    sources.image("images/a.png")
    sources.write("labels/a.txt", lines)
    if names:
        sources.write("classes.txt", names)


def test_boxes_and_polygons_of_one_file(sources):
    write(sources, f"1 {POLYGON}\n\n0 {BOX}\n")
    assert sources.convert()["data"]["class_names"] == ["background", "cell", "nucleus"]
    expected = np.zeros(SIZE, np.uint8)
    expected[2:12, 2:12] = 2
    expected[8:12, 18:26] = 1
    np.testing.assert_array_equal(sources.mask("a"), expected)
    assert np.unique(sources.mask("a", "instances")).tolist() == [0, 1, 2]


@pytest.mark.parametrize("names", ["[cell, nucleus]", "{0: cell, 1: nucleus}", "{1: nucleus, 0: cell}"])
def test_names_of_a_yaml_file(sources, names):
    write(sources, f"1 {POLYGON}\n", "")
    sources.write("data.yaml", f"nc: 2\nnames: {names}\n")
    assert sources.convert()["data"]["class_names"] == ["background", "cell", "nucleus"]


def test_folders_give_the_splits(sources):
    sources.write("classes.txt", NAMES)
    for image, text in (("images/train/a.png", "labels/train/a.txt"), ("valid/images/b.png", "valid/labels/b.txt")):
        sources.image(image)
        sources.write(text, f"0 {POLYGON}")
    sources.convert()
    assert (sources.out / "index.csv").read_text() == "id,split\na,train\nb,val\n"


def test_one_split_alone_is_not_kept(sources):
    write(sources, "")
    sources.image("train/images/b.png")
    sources.write("train/labels/b.txt", f"0 {POLYGON}")
    (sources.root / "images/a.png").unlink()
    (sources.root / "labels/a.txt").unlink()
    sources.convert()
    assert not (sources.out / "index.csv").exists()
    assert sources.notes == [
        "all images are in the split train, so the splits are not kept: image_folder divides the images"
    ]


def test_an_empty_file_is_background_and_a_missing_one_is_not(sources):
    write(sources, f"0 {POLYGON}")
    sources.image("images/b.png")
    sources.write("labels/b.txt", "")
    sources.convert()
    assert sources.mask("b").max() == 0
    sources.image("images/c.png")
    sources.out = sources.out.with_name("again")
    with pytest.raises(UserError, match=r"c.png: the source says nothing"):
        sources.convert()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (f"2 {POLYGON}", r"a.txt: line 1: has class 2, but there are 2 names \(0..1\)"),
        (f"0 {BOX}\n0 0.1 0.2 0.3", "a.txt: line 2: has 3 numbers after the class"),
        (f"0 {BOX}\n0 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "a.txt: line 2: has 7 numbers after the class"),
        (f"0 {BOX}\n0 0.1 0.2 0.3 0.4 0.5 x", "a.txt: line 2: holds something else than numbers"),
        (f"0 {BOX}\n0 2 2 12 2 12 12", "a.txt: line 2: holds 2; coordinates are fractions of the image"),
        (f"0 {BOX}\n0 nan 0 0 0 0 0", "a.txt: line 2: holds nan; coordinates are fractions of the image"),
    ],
)
def test_what_is_refused(sources, lines, message):
    write(sources, lines)
    with pytest.raises(UserError, match=message):
        sources.convert()
    assert not sources.out.exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("data.yaml", "names: {0: a, 2: b}", "names has the numbers 0, 2"),
        ("data.yaml", "names: [a, a]", r"a class has no name, or the name of another one \(a, a\)"),
        ("data.yaml", "names: ab", "names is 'ab', which is no list"),
        ("data.yaml", "names: [a", "data.yaml: is not YAML"),
        ("classes.txt", "a\n\nb", "a class has no name"),
        ("other.txt", "", "has no file that names the classes"),
    ],
)
def test_names_that_are_refused(sources, name, text, message):
    write(sources, f"0 {POLYGON}", "")
    sources.write(name, text)
    with pytest.raises(UserError, match=message):
        sources.convert()


@pytest.mark.parametrize("other", ["other.yaml", "classes.txt"])
def test_names_that_contradict_each_other_are_refused(sources, other):
    """Else the classes would change places without a word."""
    write(sources, f"0 {POLYGON}", "")
    sources.write("data.yaml", "names: [cell, nucleus]")
    names = ["cell", "nucleus"], ["nucleus", "cell"]
    texts = [f"names: [{', '.join(each)}]" if other.endswith("yaml") else "\n".join(each) + "\n\n" for each in names]
    sources.write(other, texts[1])
    with pytest.raises(UserError, match=rf"(data.yaml|{other}): names the classes .*, but .* remove one"):
        sources.convert()
    sources.write(other, texts[0])
    assert sources.convert()["data"]["class_names"] == ["background", "cell", "nucleus"]


def test_a_text_without_an_image_is_refused(sources):
    write(sources, f"0 {POLYGON}")
    sources.write("labels/b.txt", f"0 {POLYGON}")
    with pytest.raises(UserError, match=r"b.txt: there is no image of this name in .* \(1 such files\)"):
        sources.convert()


@pytest.mark.parametrize("name", ["images/a.jpg", "a.png", "a.txt"])
def test_two_files_of_one_name_are_refused(sources, name):
    """Else one of them would be taken without a word."""
    write(sources, f"0 {POLYGON}")
    if name.endswith(".txt"):
        sources.write(name, "")
    else:
        sources.image(name)
    with pytest.raises(UserError, match=r"counts under the same name 'a' as .*; rename or remove one"):
        sources.convert()
