"""A preparation runs once per content, is complete or absent, and never imports TensorFlow."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.originals import write_isbi2012, write_nuclei, write_tfds

from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.store import cache
from unet_jax.data.store.builder import FILES, Builder, prepare
from unet_jax.errors import UserError


def make(split, index, overlapping):
    rng = np.random.default_rng([index, split == "val"])
    size = (9 + index, 7)
    mask = rng.integers(0, 2, (*size, 3)) if overlapping else rng.integers(0, 3, size)
    image = rng.integers(0, 65536, (*size, 3)).astype(np.uint16)
    instances = rng.integers(0, 65536, size).astype(np.uint16)
    return {"image": image, "mask": mask.astype(np.uint8), "instances": instances, "id": f"é{index}", "group": split}


class Toy(Builder):
    runs = 0
    # Called once, in the middle of a preparation.
    meanwhile = None

    def counts(self):
        Toy.runs += 1
        return {"train": 12, "val": 2, "test": 0}

    def example(self, split, index):
        if index == 1 and Toy.meanwhile:
            call, Toy.meanwhile = Toy.meanwhile, None
            call()
        return make(split, index, self.settings["overlapping"])


CONFIG = {"channels": 3, "dtype": "uint16", "overlapping": False, "num_classes": 3, "instances": True}


@pytest.fixture
def toy(tmp_path):
    Toy.runs, Toy.meanwhile = 0, None
    return lambda fingerprint="a", **config: prepare(Toy, CONFIG | config, fingerprint, str(tmp_path))


@pytest.mark.parametrize("overlapping", [False, True])
def test_examples_come_back_as_given_in_order(toy, overlapping):
    sources = toy(overlapping=overlapping)
    assert {split: len(source) for split, source in sources.items()} == {"train": 12, "val": 2}
    for split, source in sources.items():
        for index in range(len(source)):
            got, want = source[index], make(split, index, overlapping)
            assert source.size(index) == want["image"].shape[:2]
            assert got.keys() == want.keys()
            for key in want:
                assert type(got[key]) is type(want[key])
                if isinstance(want[key], np.ndarray):
                    assert got[key].dtype == want[key].dtype
                np.testing.assert_array_equal(got[key], want[key])


def test_prepared_once_per_config_and_fingerprint(toy, capfd):
    toy(), toy()
    assert Toy.runs == 1
    toy(fingerprint="b")
    toy(overlapping=True)
    assert Toy.runs == 3
    out, err = capfd.readouterr()
    assert out == ""
    # There are no progress bars.
    assert [line.split(",")[0] for line in err.splitlines()] == ["preparing the data set toy"] * 3


def test_an_interrupted_preparation_is_begun_anew(toy, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    Toy.meanwhile = interrupt
    with pytest.raises(KeyboardInterrupt):
        toy()
    assert list((tmp_path / "toy").iterdir()) == []
    assert len(toy()["train"]) == 12
    assert Toy.runs == 2


def test_a_killed_preparation_is_never_read_and_later_removed(toy, tmp_path):
    killed = [tmp_path / "toy" / f".preparing-{name}" for name in ("old", "new")]
    for folder in killed:
        folder.mkdir(parents=True)
    os.utime(killed[0], (time.time() - 2 * 24 * 3600,) * 2)
    assert len(toy()["train"]) == 12
    # The new one may belong to a running process.
    assert [folder.exists() for folder in killed] == [False, True]


def test_two_preparations_at_once_agree(toy, tmp_path):
    other = []
    Toy.meanwhile = lambda: other.append(toy())
    sources = toy()
    assert Toy.runs == 2
    assert sources["val"][1]["id"] == other[0]["val"][1]["id"]
    assert len(list((tmp_path / "toy").iterdir())) == 1


def test_a_cache_that_cannot_be_written_names_the_setting(toy, tmp_path, monkeypatch):
    remedy = r"data\.cache_dir.*\$UNET_JAX_CACHE"
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=rf"file/toy: .*{remedy}"):
        prepare(Toy, CONFIG, "a", str(tmp_path / "file"))
    with pytest.raises(UserError, match=rf"file/facts: .*{remedy}"):
        cache.remember("key", lambda: {"a": 1}, str(tmp_path / "file"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Toy, "example", full)
    with pytest.raises(UserError, match=rf"toy: .*No space left on device.*{remedy}"):
        toy()


def test_a_disk_that_is_full_is_one_line(toy, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The writer of records fails as on a full disk: not with an OSError.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(UserError, match=r"toy: prepared data cannot be written there .*data\.cache_dir"):
            toy()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "toy").iterdir())
    toy()


def test_two_writers_never_share_a_temporary_file(tmp_path, monkeypatch):
    kind = type(cache.Path("/"))
    names, replace = [], kind.replace
    monkeypatch.setattr(kind, "replace", lambda self, to: names.append(self.name) or replace(self, to))
    for _ in range(2):
        cache.write_checked(tmp_path / "memo.json", {})
    assert len(set(names)) == 2


def prepared_folder(tmp_path):
    return next(path for path in (tmp_path / "toy").iterdir() if not path.name.startswith("."))


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["*train*", "dataset_info.json", "features.json", FILES])
@pytest.mark.parametrize("damage", [cut, flip, os.unlink])
def test_damaged_prepared_data_are_prepared_again(toy, tmp_path, capfd, name, damage):
    toy()
    damage(next(prepared_folder(tmp_path).rglob(name)))
    capfd.readouterr()
    sources = toy()
    np.testing.assert_array_equal(sources["train"][3]["image"], make("train", 3, False)["image"])
    assert Toy.runs == 2
    first, second = capfd.readouterr().err.splitlines()
    assert "; the data are prepared again" in first
    assert name.strip("*") in first
    assert "preparing" in second
    assert len(list((tmp_path / "toy").iterdir())) == 1
    toy()
    assert Toy.runs == 2


@pytest.mark.parametrize("kind", ["file", "empty folder", "link to nothing"])
def test_anything_else_in_the_place_of_prepared_data_is_replaced(toy, tmp_path, kind):
    toy()
    folder = prepared_folder(tmp_path)
    shutil.rmtree(folder)
    if kind == "file":
        folder.write_text("a file")
    elif kind == "empty folder":
        folder.mkdir()
    else:
        folder.symlink_to(tmp_path / "nothing")
    assert len(toy()["train"]) == 12


def test_a_record_that_is_damaged_while_it_is_in_use_is_one_line(toy, tmp_path):
    source = toy()["train"]
    path = next(prepared_folder(tmp_path).rglob("*train*"))
    # In place: the library keeps the file open.
    with path.open("r+b") as file:
        file.seek(64)
        file.write(bytes(path.stat().st_size - 64))
    with pytest.raises(UserError, match=rf"{path.parents[2]}: prepared example .* cannot be read .*delete that folder"):
        [source[index] for index in range(12)]
    with pytest.raises((ValueError, IndexError), match=r"(?i)record|index|range") as error:
        source[12]
    assert not isinstance(error.value, UserError)


def test_a_cache_that_others_have_prepared_may_be_read_only(toy, tmp_path, monkeypatch):
    toy()

    def denied(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cache.json_file, "write", denied)
    assert len(toy()["train"]) == 12
    assert Toy.runs == 1


# Also names that a library could read as a pattern, a scheme, an escape, or a part of a file.
ODD = [f"a{c}b" for c in map(chr, range(32, 127)) if not c.isalnum() and c != "/"]
ODD += ["-a", "a.", " a", "a ", "**", "x[0:1]", "x@5", "x@*", "{a,b}", "gs:", "file:x", "%20", "é", "a\nb", "b\udcff"]


@pytest.mark.parametrize("name", ODD)
def test_a_cache_of_any_name(tmp_path, name):
    # A folder that the name matches as a pattern.
    (tmp_path / "axb" / "toy").mkdir(parents=True)
    settings = CONFIG | {"dtype": "uint8", "channels": 1, "instances": False}
    for _ in range(2):
        source = prepare(Tiny, settings, "a", str(tmp_path / name))["train"]
        assert source[0]["id"] == "only"
        assert source.size(0) == (2, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"axb", name}
    assert len(list((tmp_path / name / "tiny").iterdir())) == 1


class Tiny(Builder):
    def counts(self):
        return {"train": 1}

    def example(self, split, index):
        zeros = np.zeros((2, 3), np.uint8)
        return {"image": zeros[..., None], "mask": zeros, "id": "only", "group": split}


def test_an_empty_split_is_an_error_only_when_asked_for(toy):
    dataset = Dataset("toy", ("background", "a", "b"), 3, False, "", "uint16", toy())
    assert dataset.splits == {"train": 12, "val": 2}
    with pytest.raises(UserError, match=r"'toy'.*'test'.*train \(12\), val \(2\)"):
        dataset.source("test")
    with pytest.raises(UserError, match=r"'toy'.*'tset'"):
        dataset.source("tset")


def test_load_names_what_is_known():
    with pytest.raises(UserError, match=r"'image_folde'.*dsb2018, electrodes, image_folder, isbi2012, tfds:NAME"):
        load_dataset("image_folde")
    with pytest.raises(UserError, match=r"'mask_dir'.*'image_folder'.*root, masks_dir"):
        load_dataset("image_folder", mask_dir="x")


PROGRAM = """
import json, sys
import cv2, numpy as np
from unet_jax.data import load
from unet_jax.data.loading import train_pipeline
from unet_jax.errors import UserError
root, folder, others = sys.argv[1:]
for name in ("images", "masks"):
    (p := __import__("pathlib").Path(root, name)).mkdir()
    for i in range(9):
        cv2.imwrite(str(p / f"{i}.png"), np.full((8, 8), i % 2, np.uint8))
sets = {"image_folder": {"root": root, "split_fractions": (1, 0, 0)}} | json.loads(others)
for name, options in sets.items():
    source = load(name, cache_dir=folder, **options).source("train")
    batch = train_pipeline.train_dataset(source, batch_size=2, patch=(4, 4), seed=0)[0]
    assert batch["image"].shape[:3] == (2, 4, 4)
try:
    load("tfds:oxford_iiit_pet", cache_dir=folder, data_dir=folder)
except UserError as error:
    assert str(error).startswith("tfds:oxford_iiit_pet: ")
print([name for name in sys.modules if name.split(".")[0] in ("tensorflow", "torch")])
"""


def test_tensorflow_is_never_imported(tmp_path):
    (tmp_path / "root").mkdir()
    write_isbi2012(tmp_path / "isbi")
    images = {name: np.full((8, 8), index, np.uint8) for index, name in enumerate("ab")}
    write_nuclei(tmp_path / "dsb", images, {name: np.ones((1, 8, 8), bool) for name in images})
    write_tfds(tmp_path / "tfds", {"train": 2})
    others = {
        "isbi2012": {"root": str(tmp_path / "isbi")},
        "dsb2018": {"root": str(tmp_path / "dsb"), "split_fractions": (1, 0, 0)},
        "tfds:tiny_pets": {"data_dir": str(tmp_path / "tfds")},
    }
    arguments = [tmp_path / "root", tmp_path / "cache", json.dumps(others)]
    command = [sys.executable, "-W", "error", "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    begun = [f"preparing the data set {name}," for name in ("image_folder", "isbi2012", "dsb2018")]
    begun.append("checking the 2 examples of tfds:tiny_pets,")
    assert [line.startswith(start) for line, start in zip(done.stderr.splitlines(), begun, strict=True)] == [True] * 4
