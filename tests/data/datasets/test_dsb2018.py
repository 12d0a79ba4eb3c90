"""The nuclei of the Data Science Bowl 2018 are read from the organisers' folders."""

import os
import shutil

import numpy as np
import pytest
from helpers.originals import assert_same_examples, examples, save, tiles, write_nuclei

from unet_jax.data.datasets import dsb2018
from unet_jax.data.datasets.registry import load_dataset
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)


def grey(height, width):
    return RNG.integers(0, 256, (height, width)).astype(np.uint8)


def few(height, width, count):
    """Returns masks of nuclei that overlap."""
    return RNG.random((count, height, width)) < 0.3


IMAGES = {"a1": grey(20, 24), "b2": RNG.integers(0, 256, (17, 30, 3)).astype(np.uint8), "c3": grey(24, 20)}
NUCLEI = {"a1": few(20, 24, 3), "b2": few(17, 30, 12), "c3": few(24, 20, 1)}


@pytest.fixture
def original(tmp_path):
    write_nuclei(tmp_path, IMAGES, NUCLEI)
    (tmp_path / "splits.csv").write_text("id,split,group\na1,train,7\nb2,val,\nc3,train,7\n")
    return tmp_path


def load(root, cache_dir, **options):
    return load_dataset("dsb2018", root=str(root), cache_dir=cache_dir, **options)


# In the second case all images are grey.
@pytest.mark.parametrize("chosen", ["a1,train,7\nb2,val,\nc3,train,7\n", "a1,train,7\nc3,test,\n"])
def test_examples_are_those_of_the_pictures_in_a_folder(original, cache_dir, chosen):
    split_file = original / "splits.csv"
    split_file.write_text("id,split,group\n" + chosen)
    ours = load(original, cache_dir, split_file=str(split_file))
    folder = load_dataset(
        "image_folder", root=str(original / "folder"), cache_dir=cache_dir, split_file=str(split_file), num_classes=2
    )
    assert ours.channels == (3 if "b2" in chosen else 1)
    assert ours.class_names == ("background", "nucleus")
    assert_same_examples(ours, folder)


def test_a_shared_pixel_belongs_to_the_first_mask_by_name(original, cache_dir):
    example = load(original, cache_dir, split_file=str(original / "splits.csv")).source("val")[0]
    assert (example["id"], example["group"]) == ("b2", "b2")
    nuclei = NUCLEI["b2"]
    np.testing.assert_array_equal(example["instances"], np.where(nuclei.any(0), nuclei.argmax(0) + 1, 0))
    np.testing.assert_array_equal(example["mask"], nuclei.any(0))


def test_root_may_be_stage1_train_itself(original, cache_dir):
    options = {"split_file": str(original / "splits.csv")}
    above, inside = load(original, cache_dir, **options), load(original / "stage1_train", cache_dir, **options)
    assert above.fingerprint == inside.fingerprint


def test_a_changed_mask_is_read_anew(original, cache_dir):
    before = load(original, cache_dir)
    save(np.zeros((24, 20), np.uint8), original / "stage1_train/c3/masks/001.png")
    after = load(original, cache_dir)
    assert after.fingerprint != before.fingerprint
    masks = {example["id"]: example["mask"].max() for split in after.splits for example in examples(after, split)}
    assert masks == {"a1": 1, "b2": 1, "c3": 0}


def test_fields_are_found_once_and_divided_whole(tmp_path, cache_dir, monkeypatch, capfd):
    searches, find = [], dsb2018.fields_of_view.find_fields
    monkeypatch.setattr(dsb2018.fields_of_view, "find_fields", lambda images: searches.append(1) or find(images))
    images = {}
    for field in range(12):
        images |= {
            f"{(field * 5 + k * 17) % 12:02}{k}-{field}": tile[..., 0] for k, tile in enumerate(tiles(RNG, 2, 2))
        }
    write_nuclei(tmp_path, images, {id_: few(160, 160, 1) for id_ in images})
    dataset = load(tmp_path, cache_dir, split_fractions=(0.5, 0.25, 0.25))
    group_of = {e["id"]: (e["group"], split) for split in dataset.splits for e in examples(dataset, split)}
    fields = {frozenset(id_ for id_ in images if id_.endswith(f"-{field}")) for field in range(12)}
    ids_of = {group: frozenset(i for i in images if group_of[i][0] == group) for group, _ in group_of.values()}
    assert set(ids_of.values()) == fields
    assert all(len({group_of[id_][1] for id_ in field}) == 1 for field in fields)
    assert len(dataset.splits) == 3
    assert all(group == min(ids) for group, ids in ids_of.items())
    load(tmp_path, cache_dir)
    assert len(searches) == 1
    # This file names the images but gives no split.
    (tmp_path / "only.csv").write_text("id\n" + "\n".join(images))
    drawn = load(tmp_path, cache_dir, split_fractions=(0.5, 0.25, 0.25), split_file=str(tmp_path / "only.csv"))
    assert drawn.fingerprint == dataset.fingerprint
    (tmp_path / "by_image.csv").write_text(
        "id,split\n" + "".join(f"{i},{'val' if '0-' in i else 'train'}\n" for i in images)
    )
    warning = "by_image.csv: has splits"
    assert warning not in capfd.readouterr().err
    assert load(tmp_path, cache_dir, split_file=str(tmp_path / "by_image.csv")).splits == {"train": 36, "val": 12}
    assert warning in capfd.readouterr().err


def test_another_layout_is_named(original, cache_dir, tmp_path):
    def raises(match, root=original, **options):
        with pytest.raises(UserError, match=match) as error:
            load(root, cache_dir, **options)
        assert "\n" not in str(error.value)

    raises("dsb2018: root .*stage1_train", root="")
    raises(rf"data\.root={tmp_path}/nowhere\b", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    for root in (original / "folder", tmp_path / "empty"):
        raises(rf"{root} .*stage1_train/ID/images/ID\.png.* ID/images/ID\.png.*root.*image_folder", root)
    for kept in ("d4/masks", "e5/images"):
        (original / "stage1_train" / kept).mkdir(parents=True)
    (original / "stage1_train/notes").mkdir()
    raises(r"stage1_train/d4: .*images/d4\.png.*stage1_train\.zip.*\(2 ")
    (original / "stage1_train/d4/masks").rmdir()
    (original / "stage1_train/e5/images/._e5.png").write_bytes(b"")
    raises(r"stage1_train/e5: .*images/e5\.png.*\(1 ")
    shutil.rmtree(original / "stage1_train/e5")
    (original / "splits.csv").write_text("id,split\na1,train\nx,train\ny,val\n")
    raises(r"splits\.csv: .*'x', 'y' .*image.*\(2 ", split_file=str(original / "splits.csv"))
    save(np.zeros((5, 6), np.uint8), original / "stage1_train/a1/masks/002.png")
    raises(r"a1/masks/002\.png: .*6 x 5 .*24 x 20")
    for path in (original / "stage1_train/a1/masks").iterdir():
        path.unlink()
    raises(r"a1: .*masks/\*\.png.*stage1_train\.zip")


def test_what_is_no_png_is_named(original, cache_dir):
    def raises(match):
        with pytest.raises(UserError, match=match):
            load(original, cache_dir)

    masks, image = original / "stage1_train/a1/masks", original / "stage1_train/a1/images/a1.png"
    for name in ("notes.txt", "004.tif", "004.gif"):
        (masks / name).touch()
        raises(rf"masks/{name}: is no PNG")
        (masks / name).unlink()
    (masks / "004.png").symlink_to("gone.png")
    raises(r"masks/004\.png: is a link")
    (masks / "004.png").unlink()
    image.rename(masks / "004.png")
    os.mkfifo(image)
    raises(r"a1\.png: .*a pipe")
