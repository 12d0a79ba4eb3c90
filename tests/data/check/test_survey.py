"""A survey reads a folder as the data set does, collects every error, and counts pixels and images."""

import re

import numpy as np
import pytest
from helpers.image_folders import GREY, IDS

from unet_jax.data.check.survey import survey_folder
from unet_jax.data.datasets import file_examples, image_folder
from unet_jax.errors import UserError

INDEX = "id,split,group\na,train,\nb,train,\nc,val,\nd,test,\n"


@pytest.fixture
def filled(folder):
    for id_ in "abcd":
        folder.pair(id_)
    folder.write("index.csv", INDEX)
    return folder


def errors_of(folder, **options):
    return list(map(str, survey_folder(str(folder.root), **options).errors))


def test_every_error_is_collected_the_readers_first(filled):
    filled.write("images/e.png", GREY)
    filled.write("images/f.png", GREY)
    filled.write("masks/g.png", IDS)
    filled.write("images/a.tif", GREY)
    filled.write("images/b.png", b"broken")
    filled.write("masks/b.png", b"broken too")
    filled.write("masks/c.png", IDS[:5])
    filled.write("index.csv", INDEX.replace("d,test", "d,dev") + "z,val,\n")
    errors = errors_of(filled)
    wanted = [
        ("images/a.tif: ", "a.png"),
        ("images/e.png: ", "e.* in "),
        ("images/f.png: ", "f.* in "),
        ("masks/g.png: ", "g.* in "),
        ("index.csv: ", "id 'z'"),
        ("index.csv: ", "id 'e'"),
        ("index.csv: ", "id 'f'"),
        ("index.csv: ", "id 'd' has split 'dev'"),
        ("images/b.png: ", "image"),
        ("masks/b.png: ", "mask"),
        ("masks/c.png: ", "10 x 5 pixels, its image 10 x 12"),
    ]
    assert len(errors) == len(wanted)
    for file, value in wanted:
        assert any(file in line and value in line.partition(file)[2] for line in errors), (file, value, errors)
    rows = image_folder.find_rows(str(filled.root), "masks", (1, 0, 0), on_error=lambda error: None)
    # Of two files with the same name, the first stays.
    assert rows["train"][0].paths[0].endswith("a.png")
    with pytest.raises(UserError) as first:
        filled.create()
    assert str(first.value) == errors[0]


def test_errors_of_a_split_file(filled, tmp_path, capfd):
    path = tmp_path / "splits.csv"
    path.write_text(
        "id,split,group\na,train,g\nb,val,g\nc,dev,\nc,dev,\n" + "".join(f"{id_},val,\n" for id_ in "vwxyz")
    )
    filled.write("images/d.png", b"broken, and left out")
    errors = errors_of(filled, split_file=str(path))
    assert all(line.startswith(f"{path}: ") for line in errors)
    wanted = (
        ["id 'c'"],
        ["'v', 'w', 'x'"],
        ["'y', 'z'"],
        ["group 'g'", "train", "'b'", "val"],
        ["id 'c'", "split 'dev'"],
    )
    for line, parts in zip(errors, wanted, strict=True):
        assert all(part in line for part in parts), line
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{path}: ")
    assert "1 of 4 images" in line
    with pytest.raises(UserError) as first:
        filled.create(split_file=str(path))
    assert str(first.value) == errors[0]

    path.write_text("id,split\na,train\n")
    (line,) = errors_of(filled, split_file=str(path))
    assert "'val'" in line
    path.write_text("id,split\n")
    (line,) = errors_of(filled, split_file=str(path))
    assert line.startswith(f"{path}: ")
    filled.write("index.csv", "id,split\n")
    assert len([line for line in errors_of(filled) if line.startswith(f"{filled.root}/index.csv: ")]) == 1


def test_errors_of_all_files_together(filled):
    filled.write("images/b.png", GREY.astype(np.uint16))
    filled.write("masks/a.png", GREY)
    errors = errors_of(filled)
    largest = np.unique(GREY[GREY < 255])[-1]
    assert len(errors) == 2
    assert all(part in errors[0] for part in ("images/b.png", "16-bit", "images/a.png", "8-bit"))
    assert all(
        part in errors[1] for part in ("masks/a.png", f" {largest};", "mask_values", f"num_classes={largest + 1}")
    )
    assert re.search(r"ids 0, 1, 2.* 2 classes", "".join(errors_of(filled, num_classes=2)))


def test_a_folder_that_cannot_be_read_at_all(folder):
    assert [line.partition(": ")[0] for line in errors_of(folder)] == [
        str(folder.root / name) for name in ("images", "masks")
    ]
    folder.pair("a")
    folder.write("index.csv", "name,split\na,train\n")
    survey = survey_folder(str(folder.root))
    assert re.search(r"index\.csv: .*'id'", str(survey.errors[0]))
    assert len(survey.errors) == 1
    assert [image.split for image in survey.images] == [""]
    with pytest.raises(UserError, match="root"):
        survey_folder("")
    with pytest.raises(UserError, match="num_classes=-1"):
        survey_folder(str(folder.root), num_classes=-1)


def test_a_needed_split_that_is_empty_is_an_error(filled):
    filled.write("index.csv", INDEX.replace("val", "test"))
    (line,) = errors_of(filled)
    with pytest.raises(UserError) as error:
        filled.create().source("val")
    assert line == str(error.value)


def test_what_is_counted(filled):
    filled.write("masks/c.png", np.where(IDS == 2, 255, IDS).astype(np.uint8))
    filled.write("images/b.png", GREY.astype(np.uint16) * 100)
    for id_ in "acd":
        filled.write(f"images/{id_}.png", GREY.astype(np.uint16))
    survey = survey_folder(str(filled.root), class_names=("ground", "anode", "cathode"))
    assert not survey.errors
    assert survey.class_names == ("ground", "anode", "cathode")
    assert [(image.row.id, image.split) for image in survey.images] == [
        ("a", "train"),
        ("b", "train"),
        ("c", "val"),
        ("d", "test"),
    ]
    np.testing.assert_array_equal(survey.counts("train")[:3], 2 * np.bincount(IDS.ravel()))
    np.testing.assert_array_equal(survey.counts("val")[[0, 255]], [(IDS == 0).sum(), (IDS == 2).sum()])
    image = survey.images[1]
    assert (image.size, image.channels, image.dtype, image.num_pixels) == ((12, 10), 1, "uint16", 120)
    assert (image.levels, image.low, image.high) == (len(np.unique(GREY)), 100 * int(GREY.min()), 100 * int(GREY.max()))
    assert {tuple(sorted((survey.images[i].row.id, survey.images[j].row.id))) for i, j, _ in survey.alike} == {
        ("a", "c"),
        ("b", "c"),
        ("a", "d"),
        ("b", "d"),
        ("c", "d"),
    }


def test_one_hot_pixel_does_not_hide_the_range(filled):
    image = np.full((64, 64), 500, np.uint16)
    image[3, 3] = 65535
    filled.pair("a", image, np.zeros((64, 64), np.uint8))
    (image,) = [image for image in survey_folder(str(filled.root)).images if image.row.id == "a"]
    assert (image.low, image.high, image.levels) == (500, 500, 2)


def test_the_first_error_stops_the_reader(filled, monkeypatch):
    read, once = [], image_folder.image_files.open_pictures
    monkeypatch.setattr(image_folder.image_files, "open_pictures", lambda *args: read.append(args) or once(*args))
    found_rows = image_folder.find_rows(str(filled.root), "masks", (1, 0, 0))
    rows = [row for listed in found_rows.values() for row in listed] * 100
    filled.write("images/a.png", b"broken")
    with pytest.raises(UserError, match=r"images/a\.png: "):
        file_examples.survey_rows(
            image_folder.read_example, rows, {"masks": "classes", "mask_values": (), "palette": (), "how": {}}, 0
        )
    assert len(read) < len(rows) / 2
