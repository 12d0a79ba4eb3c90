"""What the README says, done; its tables and links are true."""

import os
import re

import documents
import pytest
from documents import ROOT

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return documents.write_folder(tmp_path_factory.mktemp("own"))


def test_commands_and_python(folder, cache_dir, tmp_path):
    runs = tmp_path / "runs"
    assert len(documents.run_commands(README, folder, runs, cache_dir)) >= 6
    assert len(list((runs / "mine/masks/masks/class_1").iterdir())) == 24
    names = documents.run_python(README, runs / "mine", folder / "images" / "cell 0.png")
    assert names["masks"].shape == (40, 64, 2)
    assert names["probabilities"].shape == (40, 64, 3)


def test_every_config_stands_in_the_table():
    experiments = README.split("\n## Experiments\n")[1].split("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)[:`]", experiments, flags=re.MULTILINE))
    assert rows == {path.stem for path in (ROOT / "configs").glob("*.py")}


def test_pictures_and_links_are_there():
    assert "docs/quickstart.md" in documents.links(README)
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in documents.links(path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_makefile_has_the_commands():
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{name}:" in makefile for name in ("train", "test"))
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
