"""Annotations that `data.root` names are imported into the cache, once per content."""

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.annotations import SIZE, SQUARE
from PIL import Image

from unet_jax.configs import image_folder
from unet_jax.data.annotations import cached
from unet_jax.errors import UserError
from unet_jax.experiment import build, sections


@pytest.fixture
def source(sources):
    """A file and its image, both too old to change without a trace."""
    for path in (
        sources.image("a.png"),
        sources.write("a.json", {"imagePath": "a.png", "shapes": [{"label": "x", "points": SQUARE}]}),
    ):
        os.utime(path, (1e9, 1e9))
    return sources


@pytest.fixture
def folder(source, tmp_path):
    def find(root=source.root):
        return cached.folder_of(str(root), cache_dir=str(tmp_path / "cache"))

    return find


def test_a_config_takes_annotations(source, tmp_path):
    for name in "bc":
        source.image(f"{name}.png")
        source.write(f"{name}.json", {"imagePath": f"{name}.png", "shapes": [{"label": "x", "points": SQUARE}]})
    config = image_folder.get_config(str(source.root))
    config.data.cache_dir = str(tmp_path / "cache")
    config.data.split_fractions = (1.0, 0.0, 0.0)
    sections.check_root(config, "image_folder")
    dataset = build.create_dataset(config)
    assert dataset.class_names == ("background", "x")
    assert dataset.splits == {"train": 3}
    np.testing.assert_array_equal(dataset.source("train")[0]["mask"] == 1, dataset.source("train")[0]["instances"] > 0)


def test_the_import_is_made_once(source, folder, capsys):
    first, data = folder()
    assert data == {"class_names": ["background", "x"]}
    assert "importing annotations" in capsys.readouterr().err
    changed = os.stat(first).st_mtime_ns
    assert folder() == (first, data)
    assert capsys.readouterr().err == ""
    assert os.stat(first).st_mtime_ns == changed
    assert sorted(path.suffix for path in Path(first).parent.iterdir()) == ["", ".json"]


@pytest.mark.parametrize("name", ["a.json", ""])
def test_a_changed_image_or_annotation_is_imported_again(source, folder, name):
    root = source.root / name
    first, _ = folder(root)
    Image.fromarray(np.full(SIZE, 9, np.uint8)).save(source.root / "a.png")
    second, _ = folder(root)
    assert np.asarray(Image.open(Path(second) / "images/a.png")).max() == 9
    file = json.loads((source.root / "a.json").read_text())
    source.write("a.json", {**file, "shapes": []})
    third, data = folder(root)
    assert data == {}
    assert len({first, second, third}) == 3
    assert folder(root)[0] == third


def test_a_folder_of_masks_and_a_folder_of_nothing_stay(source, folder, tmp_path):
    (source.root / "masks").mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    for root in (source.root, empty, tmp_path / "none", "gs://bucket/x", ""):
        assert folder(root) == (str(root), {})


def test_options_that_are_given_stay(source, tmp_path):
    options = {"root": str(source.root), "class_names": ("ground", "thing"), "cache_dir": str(tmp_path / "cache")}
    cached.take_annotations(options)
    assert options["class_names"] == ("ground", "thing")
    assert Path(options["root"]).is_relative_to(tmp_path / "cache")


def test_an_error_of_the_import_leaves_nothing(source, folder, tmp_path):
    source.image("b.png")
    with pytest.raises(UserError, match=r"b.png: the source says nothing"):
        folder()
    assert list((tmp_path / "cache/annotations").iterdir()) == []


def test_an_image_out_of_the_annotations_is_imported_once(source, folder, capsys):
    image = source.root / "a.png"
    shapes = [{"label": "x", "points": SQUARE}]
    data = base64.b64encode(image.read_bytes()).decode()
    path = source.write("a.json", {"imagePath": "a.png", "imageData": data, "shapes": shapes})
    image.unlink()
    os.utime(path, (1e9, 1e9))
    first = folder()
    capsys.readouterr()
    assert folder() == first
    assert capsys.readouterr().err == ""
