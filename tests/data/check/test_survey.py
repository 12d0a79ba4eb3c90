"""A survey reads a folder as the data set does, tells every refusal, and counts what is there."""

import numpy as np
import pytest
from helpers.image_folders import GREY, IDS

from unet_jax.data.check.survey import survey
from unet_jax.data.datasets import from_files, image_folder
from unet_jax.errors import UserError

INDEX = "id,split,group\n" + "".join(f"{id_},{split},\n" for id_, split in zip("abcd", ["train", "train", "val", "test"], strict=True))  # fmt: skip


@pytest.fixture
def filled(folder):
    for id_ in "abcd":
        folder.pair(id_)
    folder.write("index.csv", INDEX)
    return folder


def told(folder, **options):
    return list(map(str, survey(str(folder.root), **options).refusals))


def test_every_refusal_is_told_and_the_first_is_the_readers(filled):
    filled.write("images/e.png", GREY)
    filled.write("images/f.png", GREY)
    filled.write("masks/g.png", IDS)
    filled.write("images/a.tif", GREY)
    filled.write("images/b.png", b"broken")
    filled.write("masks/b.png", b"broken too")
    filled.write("masks/c.png", IDS[:5])
    filled.write("index.csv", INDEX.replace("d,test", "d,dev") + "z,val,\n")
    refusals = told(filled)
    wanted = [
        "a.tif: a.png has the same name",
        "e.png: has no file e.* in ",
        "f.png: has no file f.* in ",
        "masks/g.png: has no file g.* in ",
        "index.csv: id 'z' has no image",
        "index.csv: id 'e' is an image without a row",
        "index.csv: id 'f' is an image without a row",
        "index.csv: id 'd' has split 'dev'",
        "images/b.png: cannot be read as an image",
        "masks/b.png: cannot be read as a mask",
        "masks/c.png: is 10 x 5 pixels, its image 10 x 12",
    ]
    assert len(refusals) == len(wanted)
    assert all(any(part in line for line in refusals) for part in wanted), refusals
    rows = image_folder.find_rows(str(filled.root), "masks", (1, 0, 0), on_error=lambda error: None)
    assert rows["train"][0].paths[0].endswith("a.png")  # of twins the first stays
    with pytest.raises(UserError) as first:
        filled.create()
    assert str(first.value) == refusals[0]


def test_what_is_wrong_with_a_split_file_is_told_too(filled, tmp_path, capfd):
    path = tmp_path / "splits.csv"
    path.write_text(
        "id,split,group\na,train,g\nb,val,g\nc,dev,\nc,dev,\n" + "".join(f"{id_},val,\n" for id_ in "vwxyz")
    )
    filled.write("images/d.png", b"broken, and left out")
    refusals = told(filled, split_file=str(path))
    assert [line.removeprefix(f"{path}: ").partition(";")[0] for line in refusals] == [
        "id 'c' has two rows",
        "ids 'v', 'w', 'x' have no image",
        "ids 'y', 'z' have no image",
        "group 'g' is in train and, with id 'b', in val",
        "id 'c' has split 'dev'",
    ]
    assert capfd.readouterr().err == f"{path}: 1 of 4 images are not named there and left out\n"
    with pytest.raises(UserError) as first:
        filled.create(split_file=str(path))
    assert str(first.value) == refusals[0]

    path.write_text("id,split\na,train\n")
    (line,) = told(filled, split_file=str(path))
    assert "split 'val' is empty" in line
    path.write_text("id,split\n")
    (line,) = told(filled, split_file=str(path))
    assert "names no image" in line
    filled.write("index.csv", "id,split\n")
    assert len([line for line in told(filled) if "names no image" in line]) == 1


def test_what_the_files_have_in_common_is_refused_too(filled):
    filled.write("images/b.png", GREY.astype(np.uint16))
    filled.write("masks/a.png", GREY)
    refusals = told(filled)
    largest = np.unique(GREY[GREY < 255])[-1]
    assert len(refusals) == 2
    assert "is 16-bit and" in refusals[0]
    assert f"holds the value {largest}; if the masks hold grey values set mask_values" in refusals[1]
    assert "holds the ids 0, 1, 2, but there are 2 classes" in "".join(told(filled, num_classes=2))


def test_a_folder_that_cannot_be_read_at_all(folder):
    assert [line.rpartition("/")[2].partition(";")[0] for line in told(folder)] == [
        "images: is not a folder",
        "masks: is not a folder",
    ]
    folder.pair("a")
    folder.write("index.csv", "name,split\na,train\n")
    found = survey(str(folder.root))
    assert "has no column 'id'" in str(found.refusals[0])
    assert len(found.refusals) == 1
    assert [look.split for look in found.looks] == [""]
    with pytest.raises(UserError, match="root is not set"):
        survey("")
    with pytest.raises(UserError, match="num_classes=-1"):
        survey(str(folder.root), num_classes=-1)


def test_a_split_that_training_needs_is_refused_in_its_words(filled):
    filled.write("index.csv", INDEX.replace("val", "test"))
    (line,) = told(filled)
    with pytest.raises(UserError) as error:
        filled.create().source("val")
    assert line == str(error.value)


def test_what_is_counted(filled):
    filled.write("masks/c.png", np.where(IDS == 2, 255, 0).astype(np.uint8))
    filled.write("images/b.png", GREY.astype(np.uint16) * 100)
    for id_ in "acd":
        filled.write(f"images/{id_}.png", GREY.astype(np.uint16))
    found = survey(str(filled.root), class_names=("ground", "anode", "cathode"))
    assert not found.refusals
    assert found.class_names == ("ground", "anode", "cathode")
    assert [(look.row.id, look.split) for look in found.looks] == [*zip("abcd", ["train"] * 2 + ["val", "test"], strict=True)]  # fmt: skip
    np.testing.assert_array_equal(found.counts("train")[:3], 2 * np.bincount(IDS.ravel()))
    np.testing.assert_array_equal(found.counts("val")[[0, 255]], [(IDS != 2).sum(), (IDS == 2).sum()])
    look = found.looks[1]
    assert (look.size, look.channels, look.dtype, look.num_pixels) == ((12, 10), 1, "uint16", 120)
    assert (look.levels, look.low, look.high) == (len(np.unique(GREY)), 100 * int(GREY.min()), 100 * int(GREY.max()))
    assert {tuple(sorted((found.looks[i].row.id, found.looks[j].row.id))) for i, j, _ in found.alike} == {
        *[("a", "c"), ("b", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    }


def test_one_hot_pixel_does_not_hide_the_range(filled):
    image = np.full((64, 64), 500, np.uint16)
    image[3, 3] = 65535
    filled.pair("a", image, np.zeros((64, 64), np.uint8))
    (look,) = [look for look in survey(str(filled.root)).looks if look.row.id == "a"]
    assert (look.low, look.high, look.levels) == (500, 500, 2)


def test_the_first_refusal_stops_the_reader(filled, monkeypatch):
    read, once = [], image_folder.image_files.read_image
    monkeypatch.setattr(image_folder.image_files, "read_image", lambda path: read.append(path) or once(path))
    found = image_folder.find_rows(str(filled.root), "masks", (1, 0, 0))
    rows = [row for listed in found.values() for row in listed] * 100
    filled.write("images/a.png", b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        from_files.survey_rows(image_folder.ImageFolder, rows, {"mask_values": (), "palette": ()}, 0)
    assert len(read) < len(rows) / 2
