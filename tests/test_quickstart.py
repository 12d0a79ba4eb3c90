"""What the quickstart says, done: from a folder to masks."""

import csv
import functools
import re

import documents
import pytest
from documents import ROOT

from configs import default
from unet_jax.data import splits

TEXT = (ROOT / "docs" / "quickstart.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return documents.write_folder(tmp_path_factory.mktemp("own"))


def test_commands_and_python(folder, cache_dir, tmp_path):
    runs = tmp_path / "runs"
    assert len(documents.run_commands(TEXT, folder, runs, cache_dir)) == 6
    assert (runs / "check/sheet.png").exists()
    assert (runs / "mine/eval/val.json").exists()
    for name in ("ids", "overlays", "masks/class_1", "masks/class_2"):
        assert len(list((runs / "mine/masks" / name).iterdir())) == 24
    names = documents.run_python(TEXT, runs / "mine", folder / "images" / "cell 0.png")
    assert names["plate"].shape == (40, 64)


def test_its_index_is_read_as_it_says(tmp_path):
    (index,) = [block for block in documents.blocks(TEXT, "") if block.startswith("id,")]
    (tmp_path / "index.csv").write_text(index)
    rows = list(csv.DictReader(index.splitlines()))
    assigned = splits.assign([row["id"] for row in rows], (1, 0, 0), index=tmp_path / "index.csv")
    assert list(assigned.values()) == [(row["split"], row["group"]) for row in rows]


def test_keys_it_names_are_there():
    config = default.get_config()
    config.data = default.image_folder("")
    words = re.findall(r"`([a-z]+\.[a-z_]+)(?:=[^`]*)?`", TEXT)
    keys = [word for word in words if not word.endswith((".csv", ".py", ".png"))]
    assert len(keys) >= 8
    for key in keys:
        functools.reduce(lambda node, part: node[part], key.split("."), config)
