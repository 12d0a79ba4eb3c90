"""A prepared TFDS set becomes a data set as it is; missing or wrong things are named before the first step."""

import json
import shutil

import cv2
import numpy as np
import pytest
from helpers import originals
from helpers.originals import examples, pet, write_tfds

from unet_jax.data.datasets import tfds_dataset
from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.loading import eval_pipeline, train_pipeline
from unet_jax.errors import UserError

COUNTS = {"train": 10, "test": 3}
PETS = {
    "id_key": "file_name",
    "mask_values": (2, 1, 3),
    "splits": {"train": "train[:80%]", "val": "train[80%:]", "test": "test"},
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    write_tfds(root, COUNTS, num_shards=2)
    return str(root)


def load(data_dir, cache_dir, name="tfds:tiny_pets", **options):
    return load_dataset(name, data_dir=data_dir, cache_dir=cache_dir, **(PETS | options))


def test_examples_are_those_of_the_set_in_their_order(data_dir, cache_dir):
    dataset = load(data_dir, cache_dir, class_names=("background", "pet", "border"))
    assert dataset.splits == {"train": 8, "val": 2, "test": 3}
    assert (dataset.name, dataset.channels, dataset.dtype) == ("tfds:tiny_pets", 3, "uint8")
    assert dataset.class_names == ("background", "pet", "border")
    for split, stored, first in (("train", "train", 0), ("val", "train", 8), ("test", "test", 0)):
        for index, example in enumerate(examples(dataset, split)):
            image, mask = pet(stored, first + index)
            np.testing.assert_array_equal(example["image"], image)
            np.testing.assert_array_equal(example["mask"], np.array([9, 1, 0, 2])[mask])
            assert (example["image"].dtype, example["mask"].dtype) == (np.uint8, np.uint8)
            assert example["id"] == example["group"] == f"{stored}_{first + index}.jpg"
            assert dataset.source(split).size(index) == mask.shape


@pytest.mark.parametrize("name", ["a[0]", "a*", "a@2", "a?#%20", "~", "{a,b}"])
def test_the_folder_of_the_sets_may_have_any_name(data_dir, cache_dir, tmp_path, name):
    shutil.copytree(data_dir, tmp_path / name)
    dataset = load(str(tmp_path / name), cache_dir)
    assert dataset.fingerprint == load(data_dir, cache_dir).fingerprint
    np.testing.assert_array_equal(dataset.source("test")[2]["image"], pet("test", 2)[0])
    with pytest.raises(UserError) as error:
        load(str(tmp_path / name), cache_dir, "tfds:other")
    assert str(tmp_path / name) in str(error.value)
    record = next((tmp_path / name).rglob("*test*-of-*"))
    record.unlink()
    with pytest.raises(UserError) as error:
        load(str(tmp_path / name), cache_dir)
    assert str(tmp_path / name) in str(error.value)


def test_it_trains(data_dir, cache_dir):
    dataset = load(data_dir, cache_dir)
    batch = train_pipeline.train_dataset(dataset.source("train"), batch_size=4, patch=(16, 16), seed=0)[3]
    assert batch["image"].shape == (4, 16, 16, 3)
    assert set(np.unique(batch["mask"])) == {0, 1, 2}
    plan = eval_pipeline.eval_plan(dataset.source("test"), batch_size=2, pad_multiple=8)
    assert sorted(index for _, indices in plan for index in indices if index >= 0) == [0, 1, 2]


def test_checked_once_and_known_by_contents_and_options(data_dir, cache_dir, tmp_path, monkeypatch, capfd):
    checks, check = [], tfds_dataset._check
    monkeypatch.setattr(tfds_dataset, "_check", lambda *args: checks.append(args) or check(*args))
    first = load(data_dir, str(tmp_path / "cache"))
    (line,) = capfd.readouterr().err.splitlines()
    assert " 13 examples of tfds:tiny_pets" in line
    assert load(data_dir, str(tmp_path / "cache")).fingerprint == first.fingerprint
    assert len(checks) == 1
    other = [{"mask_values": (1, 2, 3)}, {"id_key": ""}, {"splits": {"train": "train"}}]
    write_tfds(tmp_path / "more", {"train": 11, "test": 3})
    fingerprints = [load(data_dir, cache_dir, **options).fingerprint for options in other]
    fingerprints.append(load(str(tmp_path / "more"), cache_dir).fingerprint)
    assert len({first.fingerprint, *fingerprints}) == 5


def test_a_changed_pixel_changes_the_fingerprint(tmp_path, cache_dir, monkeypatch):
    encode, pet_of = cv2.imencode, originals.pet
    monkeypatch.setattr(
        originals.cv2, "imencode", lambda suffix, array: encode(suffix, array, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    )
    folders = [write_tfds(tmp_path / "first", COUNTS), write_tfds(tmp_path / "same", COUNTS)]

    def other(split, index, *args):
        image, mask = pet_of(split, index, *args)
        image[0, 0, 0] ^= index == 3
        return image, mask

    monkeypatch.setattr(originals, "pet", other)
    folders.append(write_tfds(tmp_path / "changed", COUNTS))
    sizes = [
        [split["numBytes"] for split in json.loads((f / "dataset_info.json").read_text())["splits"]] for f in folders
    ]
    assert sizes[0] == sizes[1] == sizes[2]
    first, same, changed = (load(str(tmp_path / name), cache_dir).fingerprint for name in ("first", "same", "changed"))
    assert first == same != changed
    # Nothing changed in this split.
    only = {"splits": {"train": "test"}}
    assert (
        load(str(tmp_path / "first"), cache_dir, **only).fingerprint
        == load(str(tmp_path / "changed"), cache_dir, **only).fingerprint
    )


def test_without_an_id_key_the_place_names_an_example(data_dir, cache_dir):
    dataset = load(data_dir, cache_dir, id_key="")
    assert [example["id"] for example in examples(dataset, "val")] == ["val-000000", "val-000001"]


def test_masks_of_ids_need_no_values(tmp_path, cache_dir):
    write_tfds(tmp_path, COUNTS, values=(0, 1, 255))
    dataset = load(str(tmp_path), cache_dir, mask_values=(), splits={"train": "train", "val": "test", "test": ""})
    assert dataset.class_names == ("background", "class_1")
    assert dataset.splits == {"train": 10, "val": 3}
    np.testing.assert_array_equal(dataset.source("train")[0]["mask"], pet("train", 0, values=(0, 1, 255))[1])


def test_sixteen_bits_and_grey(tmp_path, cache_dir):
    write_tfds(tmp_path, COUNTS, channels=1, dtype=np.uint16)
    dataset = load(str(tmp_path), cache_dir)
    assert (dataset.channels, dataset.dtype) == (1, "uint16")
    example = dataset.source("train")[0]
    assert example["image"].dtype == np.uint16
    np.testing.assert_array_equal(example["image"], pet("train", 0, channels=1, dtype=np.uint16)[0])


# 1: the declared number of channels may be wrong.
@pytest.mark.parametrize("declared", [3, 1])
def test_alpha_is_dropped_and_grey_among_colours_becomes_rgb(tmp_path, cache_dir, declared):
    write_tfds(tmp_path, COUNTS, channels=lambda index: (3, 4, 1)[index % 3], declared=declared)
    dataset = load(str(tmp_path), cache_dir)
    assert dataset.channels == 3
    for index, example in enumerate(examples(dataset, "train")):
        image, _ = pet("train", index, channels=(3, 4, 1)[index % 3])
        np.testing.assert_array_equal(example["image"], np.broadcast_to(image[..., :3], (*image.shape[:2], 3)))


def test_a_mask_of_another_size_is_named(tmp_path, cache_dir):
    write_tfds(tmp_path, COUNTS, crop=2)
    with pytest.raises(UserError, match=r"train 0 \(train_0\.jpg\): .*24 x 18 .*24 x 20"):
        load(str(tmp_path), cache_dir)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mask_values": (2, 1)}, r"tiny_pets, train 0 \(train_0\.jpg\): .*values 3 .*mask_values=\(2, 1\)"),
        ({"mask_values": (), "num_classes": 3}, r"tiny_pets .*ids 1, 2, 3,.* 3 classes"),
        ({"class_names": ("a", "b")}, "class_names .*2.*mask_values .*3"),
        ({"image_key": "picture"}, r"tiny_pets: data\.image_key='picture' .*file_name, image, label"),
        ({"mask_key": "image"}, r"'image' .*uint8 \(20, 24, 3\).*data\.mask_key"),
        ({"image_key": "label"}, r"'label' .*int64 \(\).*data\.image_key"),
        ({"mask_key": "other"}, "tiny_pets: .*0 of train"),
        ({"id_key": "label"}, r"tiny_pets: 11 .*data\.id_key"),
        (
            {"splits": {"train": "train", "val": "tset"}},
            r"data\.splits\.val='tset' .*train \(10\), test \(3\)",
        ),
        ({"splits": {"train": "train[:"}}, r"data\.splits\.train='train\[:' "),
        ({"splits": {"dev": "test"}}, r"data\.splits .*'dev'.*train, val, test"),
        ({"splits": {"train": ""}}, r"tiny_pets: .*data\.splits"),
        (
            {"splits": {"train": "train[:8]", "val": "train[70%:]"}},
            r"data\.splits: train='train\[:8\]' .*val='train\[70%:\]' .*\b1\b",
        ),
        ({"name": "tfds:tiny_pets:9.9.9"}, r"tiny_pets:9\.9\.9: .*data\.data_dir"),
    ],
)
def test_what_does_not_fit_is_named(data_dir, tmp_path, options, match):
    with pytest.raises(UserError, match=match) as error:
        load(data_dir, str(tmp_path), **options)
    assert "\n" not in str(error.value)


def test_errors_give_the_command_to_prepare_or_convert(tmp_path, cache_dir):
    command = (
        r"python -c .*tfds\.builder.*oxford_iiit_pet.*data_dir=.*file_format=.*array_record.*download_and_prepare\(\)"
    )
    with pytest.raises(UserError, match=rf"oxford_iiit_pet: .*{tmp_path}.*data\.data_dir.*{command}"):
        load(str(tmp_path), cache_dir, name="tfds:oxford_iiit_pet")
    folder = write_tfds(tmp_path, COUNTS)
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    command = rf"tfds convert_format --out_file_format=array_record --dataset_version_dir={folder}"
    with pytest.raises(UserError, match=rf"tiny_pets: .*tfrecord.*{folder}.*{command}"):
        load(str(tmp_path), cache_dir)


def test_files_that_are_gone_are_named(tmp_path, cache_dir):
    folder = write_tfds(tmp_path, COUNTS)
    for path in folder.glob("*test*"):
        path.unlink()
    with pytest.raises(UserError, match=r"tfds:tiny_pets: .*test"):
        load(str(tmp_path), cache_dir)
