"""The membranes of ISBI 2012 are read from the organisers' stacks: polarity, blocks of slices, and errors."""

import re

import numpy as np
import pytest
from helpers.originals import SPLITS, assert_same_examples, examples, write_isbi2012
from PIL import Image

from unet_jax.data.datasets import isbi2012
from unet_jax.data.datasets.file_examples import Row
from unet_jax.data.datasets.registry import load_dataset
from unet_jax.errors import UserError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("isbi")
    return root, *write_isbi2012(root)


def load(root, cache_dir, **options):
    return load_dataset("isbi2012", root=str(root), cache_dir=cache_dir, **options)


def test_membranes_are_class_1_and_splits_are_blocks(original, cache_dir):
    root, images, labels = original
    dataset = load(root, cache_dir)
    assert dataset.class_names == ("interior", "membrane")
    blocks = {"train": range(20), "val": range(20, 24), "test": range(24, 30)}
    assert dataset.splits == {split: len(block) for split, block in blocks.items()}
    for split, block in blocks.items():
        for example, index in zip(examples(dataset, split), block, strict=True):
            assert (example["id"], example["group"]) == (f"{index:02}", f"{block[0]:02}-{block[-1]:02}")
            np.testing.assert_array_equal(example["image"][..., 0], images[index])
            np.testing.assert_array_equal(example["mask"], labels[index] == 0)


def test_instances_are_the_parts_of_the_interior(tmp_path, cache_dir):
    write_isbi2012(tmp_path)
    pages = [np.zeros((16, 20), np.uint8) for _ in range(30)]
    # The first two parts meet in a corner only.
    pages[0][2:5, 2:5] = pages[0][5:8, 5:8] = pages[0][2:4, 9:] = 255
    first, *others = map(Image.fromarray, pages)
    first.save(tmp_path / "train-labels.tif", save_all=True, append_images=others)
    instances = load(tmp_path, cache_dir).source("train")[0]["instances"]
    assert instances.dtype == np.uint16
    np.testing.assert_array_equal(instances > 0, pages[0] > 0)
    parts = [set(instances[place].ravel()) for place in (np.s_[2:5, 2:5], np.s_[5:8, 5:8], np.s_[2:4, 9:])]
    assert all(len(part) == 1 for part in parts)
    assert set.union(*parts) == {1, 2, 3}


def test_examples_are_those_of_the_pictures_in_a_folder(original, cache_dir):
    split_file = str(SPLITS / "isbi2012.csv")
    ours = load(original[0], cache_dir, split_file=split_file)
    folder = load_dataset("image_folder", root=str(original[0] / "folder"), cache_dir=cache_dir, split_file=split_file)
    assert_same_examples(ours, folder, but=["instances"])
    # The split file of the config and the default agree.
    assert_same_examples(ours, load(original[0], cache_dir))


def test_a_split_file_needs_splits_and_may_leave_slices_out(original, cache_dir, tmp_path, capfd):
    (tmp_path / "splits.csv").write_text("id,split\n03,val\n29,train\n")
    dataset = load(original[0], cache_dir, split_file=str(tmp_path / "splits.csv"))
    assert [dataset.source(split)[0]["id"] for split in ("train", "val")] == ["29", "03"]
    assert re.search(r"splits\.csv: .*28 of 30 images", capfd.readouterr().err)
    (tmp_path / "splits.csv").write_text("id,group\n03,a\n")
    with pytest.raises(UserError, match=r"splits\.csv: .*'split'"):
        load(original[0], cache_dir, split_file=str(tmp_path / "splits.csv"))


def test_what_is_not_the_original_is_named(tmp_path, cache_dir):
    def raises(match, root=tmp_path):
        with pytest.raises(UserError, match=match):
            load(root, cache_dir)

    raises(r"isbi2012: root .*train-volume\.tif.*train-labels\.tif", root="")
    raises(rf"isbi2012: {tmp_path} .*train-volume\.tif.*train-labels\.tif")
    (tmp_path / "train-volume.tif").symlink_to("gone.tif")
    raises(r"train-volume\.tif: is a link")
    (tmp_path / "train-volume.tif").unlink()
    write_isbi2012(tmp_path, num_slices=29)
    raises(r"train-volume\.tif: .*29.*30")
    _, labels = write_isbi2012(tmp_path)
    grey = [Image.fromarray(np.where(page, 255, 128).astype(np.uint8)) for page in labels]
    grey[0].save(tmp_path / "train-labels.tif", save_all=True, append_images=grey[1:])
    raises(r"train-labels\.tif: .*values 128 .*\(255, 0\)")
    other = [Image.fromarray(page[:, :10]) for page in labels]
    other[0].save(tmp_path / "train-labels.tif", save_all=True, append_images=other[1:])
    raises(r"train-labels\.tif: .*10 x 16 .*20 x 16")
    deep = [Image.fromarray(page.astype(np.uint16)) for page in labels]
    deep[0].save(tmp_path / "train-labels.tif", save_all=True, append_images=deep[1:])
    raises(r"train-labels\.tif: .*8-bit grey")
    (tmp_path / "train-labels.tif").write_bytes(b"none")
    raises(r"train-labels\.tif: .*TIFF")


def test_a_file_that_goes_away_is_named(tmp_path):
    paths = [str(tmp_path / name) for name in isbi2012.NAMES]
    with pytest.raises(UserError, match=r"train-volume\.tif: .*No such file"):
        isbi2012.Isbi2012.read(Row("00", "00-19", tuple(paths)), {"raw_values": isbi2012.RAW_VALUES})
