"""A file of several pages is several images of one group, with a mask for each page or one for all."""

import numpy as np
import pytest
import tifffile
from helpers.image_folders import GREY, IDS

from unet_jax.data.check.survey import survey_folder
from unet_jax.data.datasets import image_files
from unet_jax.data.datasets.folder import pages
from unet_jax.data.datasets.image_folder import find_rows
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

STACK = np.stack([np.roll(GREY, page, 0) for page in range(3)])
MASKS = np.stack([np.roll(IDS, page, 0) for page in range(3)])
NAMES = [f"deep#{page:04}" for page in range(3)]


def write(folder, name, values, axes="ZYX"):
    path = folder.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes})


def test_each_page_is_an_example_with_its_mask_and_its_instances(folder):
    write(folder, "images/deep.tif", STACK), write(folder, "masks/deep.ome.tif", MASKS)
    write(folder, "instances/deep.tif", MASKS)
    folder.pair("flat", mask=IDS), folder.write("instances/flat.png", IDS)
    examples = folder.examples()
    assert sorted(examples) == [*NAMES, "flat"]
    for page, name in enumerate(NAMES):
        np.testing.assert_array_equal(examples[name]["image"][..., 0], STACK[page])
        np.testing.assert_array_equal(examples[name]["mask"], MASKS[page])
        np.testing.assert_array_equal(examples[name]["instances"], MASKS[page])
        assert examples[name]["group"] == "deep"
    assert examples["flat"]["group"] == "flat"


def test_pages_of_the_survey_that_were_not_kept_are_read_again(folder, monkeypatch):
    from unet_jax.data.datasets import from_files

    monkeypatch.setattr(from_files, "KEPT_BYTES", 0)
    write(folder, "images/deep.tif", STACK), write(folder, "masks/deep.tif", MASKS)
    np.testing.assert_array_equal(folder.examples()[NAMES[2]]["mask"], MASKS[2])


def test_one_mask_for_all_pages_needs_the_option(folder):
    write(folder, "images/deep.tif", STACK), folder.write("masks/deep.png", IDS)
    folder.raises(r"masks/deep\.png: holds 1 pages, its image \S*deep\.tif 3; .*set data\.one_mask=True")
    examples = folder.examples(one_mask=True)
    assert all((examples[name]["mask"] == IDS).all() for name in NAMES)


@pytest.mark.parametrize("one_mask", [False, True])
def test_another_number_of_masks_is_refused(folder, one_mask):
    write(folder, "images/deep.tif", STACK), write(folder, "masks/deep.tif", MASKS[:2])
    folder.raises(
        r"masks/deep\.tif: holds 2 pages, its image \S*deep\.tif 3; give each page its mask$", one_mask=one_mask
    )
    folder.write("index.csv", "id,split\ndeep,train\n")
    (line, *_) = [str(error) for error in survey_folder(str(folder.root), one_mask=one_mask).errors]
    assert "masks/deep.tif: holds 2 pages" in line


def splits_of(folder, index):
    folder.write("index.csv", index)
    rows = find_rows(str(folder.root), "masks", (1, 0, 0))
    return {row.id: (split, row.group, row.pages) for split, listed in rows.items() for row in listed}


def test_the_index_names_the_file_or_a_page(folder):
    write(folder, "images/deep.tif", STACK), write(folder, "masks/deep.tif", MASKS)
    found = splits_of(folder, "id,split\ndeep,val\n")
    assert found == {name: ("val", "deep", (page, page)) for page, name in enumerate(NAMES)}
    index = "id,split,group\ndeep,train,a\ndeep#0001,val,b\n"
    assert {split[:2] for split in splits_of(folder, index).values()} == {("train", "a"), ("val", "b")}
    folder.write("index.csv", "id,split\ndeep,train\ndeep#0001,val\n")
    folder.raises("group 'deep' is in .* into one split")
    folder.write("index.csv", "id,split\ndeep,train\ndeep#0007,val\n")
    folder.raises(r"id 'deep#0007' has no image")


def test_all_pages_of_a_file_are_drawn_into_one_split(folder):
    for name in "abcdefgh":
        write(folder, f"images/{name}.tif", STACK), write(folder, f"masks/{name}.tif", MASKS)
    rows = find_rows(str(folder.root), "masks", (0.5, 0.25, 0.25))
    splits = {row.paths[0]: split for split, listed in rows.items() for row in listed}
    assert len(set(splits.values())) > 1
    for split, listed in rows.items():
        assert all(splits[row.paths[0]] == split for row in listed)


def test_the_files_of_an_ome_set_are_one_group(folder, monkeypatch):
    for name in "abc":
        write(folder, f"images/{name}.tif", GREY, "YX"), write(folder, f"masks/{name}.tif", IDS, "YX")
    monkeypatch.setattr(pages, "_count", lambda path, how: (1, "" if "a.tif" in path else "one set"))
    rows = find_rows(str(folder.root), "masks", (1, 0, 0))["train"]
    assert {row.id: row.group for row in rows} == {"a": "a", "b": "b", "c": "b"}


def test_a_file_is_opened_once_for_all_its_pages(folder, monkeypatch):
    write(folder, "images/deep.tif", STACK)
    opened, open_pictures = [], image_files.open_pictures

    def opens(*args):
        opened.append(args)
        return open_pictures(*args)

    monkeypatch.setattr(image_files, "open_pictures", opens)
    path = str(folder.root / "images/deep.tif")
    for page in range(3):
        np.testing.assert_array_equal(pages.read_image(path, page, Reading())[..., 0], STACK[page])
    assert len(opened) == 1
    write(folder, "images/deep.tif", STACK[::-1])
    np.testing.assert_array_equal(pages.read_image(path, 0, Reading())[..., 0], STACK[2])


def test_axes_and_channels_say_how_images_are_read_and_masks_have_none(folder):
    image = np.stack([STACK, STACK[::-1]], 1)
    folder.root.mkdir()
    for name, values in (("images", image), ("masks", MASKS)):
        (folder.root / name).mkdir()
        tifffile.imwrite(folder.root / name / "deep.tif", values, photometric="minisblack")
    examples = folder.examples(axes="ZCYX", channels=(1,))
    np.testing.assert_array_equal(examples[NAMES[0]]["image"][..., 0], STACK[2])
    np.testing.assert_array_equal(examples[NAMES[1]]["mask"], MASKS[1])
    folder.raises("data.axes='ZC' must hold Y and X", axes="ZC")
    assert pages.of_masks(Reading(axes="ZCYX", channels=(1,))) == Reading(axes="ZYX")


def test_an_image_with_the_name_of_a_page_is_refused(folder):
    write(folder, "images/deep.tif", STACK), write(folder, "masks/deep.tif", MASKS)
    folder.pair("deep#0001")
    folder.raises(r"images/deep#0001\.png: has the name of a page of \S*images/deep\.tif, deep#0001; rename it")


@pytest.mark.parametrize(
    "option", [{"channels": (0, -1)}, {"channels": ("a",)}, {"missing_chunks": "fil"}, {"nan": "viod"}], ids=str
)
def test_how_files_are_read_is_checked_in_the_survey_too(folder, option):
    folder.pair("a")
    for call in (folder.create, lambda **options: survey_folder(str(folder.root), **options)):
        with pytest.raises(UserError, match=f"data.{next(iter(option))}"):
            call(**option)
