"""What the quickstart says of files and keys; its commands are done by test_readme.py."""

import csv
import functools
import re

from helpers import documents
from helpers.documents import ROOT

from unet_jax.configs import default
from unet_jax.data.datasets import splits

TEXT = (ROOT / "docs" / "quickstart.md").read_text()


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
