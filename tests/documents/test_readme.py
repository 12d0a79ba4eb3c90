"""What the README and the quickstart say, done in one folder; the README's tables and links are true."""

import os
import re

import pytest
from helpers import documents
from helpers.documents import ROOT

README = (ROOT / "README.md").read_text()


QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return documents.write_folder(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def runs(folder, cache_dir, tmp_path_factory):
    """runs/ when every command of both documents has been given, what both have but once; in others/ the quickstart's own."""
    runs = tmp_path_factory.mktemp("runs")
    readme, quickstart = documents.commands(README), documents.commands(QUICKSTART)
    assert len(readme) >= 8
    assert len(quickstart) == 6
    commands = [command for command in readme if not any("certify" in word for word in command)]  # test_certify.py's
    assert len(commands) == len(readme) - 1
    documents.run_commands(commands, folder, runs, cache_dir)
    others = [command for command in quickstart if command not in commands]
    documents.run_commands(others, folder, runs / "others", cache_dir)  # a name of a run may be in both
    return runs


def test_commands(runs):
    assert (runs / "check/sheet.png").exists()
    assert (runs / "mine/eval/val.json").exists()
    for name in ("ids", "overlays", "masks/class_1", "masks/class_2"):
        assert len(list((runs / "mine/masks" / name).iterdir())) == 24
    assert len(list((runs / "small_masks/masks/class_1").iterdir())) == 24
    assert (runs / "smoke/eval/test.json").exists()
    assert all((runs / name / "checkpoints").is_dir() for name in ("others/weighted", "others/small"))


def test_python(runs, folder):
    names = documents.run_python(README, runs / "mine", folder / "images" / "cell 0.png")
    assert names["masks"].shape == (40, 64, 2)
    assert names["probabilities"].shape == (40, 64, 3)
    names = documents.run_python(QUICKSTART, runs / "mine", folder / "images" / "cell 0.png")
    assert names["plate"].shape == (40, 64)


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
