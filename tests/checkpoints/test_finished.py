"""Only finished checkpoints count. The rest is named, passed over, and moved only where it is in the way of a save."""

import json
import os
import shutil

import numpy as np
import pytest
from etils.epath import Path

from unet_jax.checkpoints import checkpointer as checkpointers
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.finished import is_finished, read_contents
from unet_jax.errors import UserError

STATE = {"params": {"kernel": np.arange(6, dtype=np.float32)}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Saves two checkpoints that no test changes; the first is the best."""
    directory = tmp_path_factory.mktemp("whole") / "checkpoints"
    with Checkpointer(directory) as checkpointer:
        for step, score in ((3, 0.6), (6, 0.3)):
            checkpointer.save(step, STATE, score)
    return directory


@pytest.fixture
def directory(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpointers, "_printed", set())
    shutil.copytree(whole, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def copy_half(directory, name, missing):
    shutil.copytree(directory / "6", directory / name)
    part = directory / name / missing
    shutil.rmtree(part) if part.is_dir() else part.unlink()


def copy_with_pipe(directory, name):
    shutil.copytree(directory / "6", directory / name)
    (directory / name / "digests" / "metadata").unlink()
    os.mkfifo(directory / name / "digests" / "metadata")


def make_folder(directory, name, inside=""):
    (directory / name).mkdir()
    if inside:
        (directory / name / inside).write_text("a")


KINDS = {
    "an empty folder": lambda directory: make_folder(directory, "999"),
    "other files": lambda directory: make_folder(directory, "999", "notes.txt"),
    "a file": lambda directory: (directory / "999").write_text("a"),
    "a broken link": lambda directory: (directory / "999").symlink_to("nowhere"),
    "zeros": lambda directory: make_folder(directory, "0999"),
    "a copy with zeros": lambda directory: shutil.copytree(directory / "6", directory / "0999"),
    "without state": lambda directory: copy_half(directory, "999", "state"),
    "without digests": lambda directory: copy_half(directory, "999", "digests"),
    "without metadata": lambda directory: copy_half(directory, "999", "_CHECKPOINT_METADATA"),
    "with a pipe": lambda directory: copy_with_pipe(directory, "999"),
    "a file of an unfinished save": lambda directory: (directory / "999.orbax-checkpoint-tmp").write_text("a"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_finished_checkpoint_is_named_passed_over_and_kept(directory, kind, capsys):
    KINDS[kind](directory)
    (name,) = {path.name for path in directory.iterdir()} - {"3", "6"}
    before = sorted(map(str, directory.rglob("*")))
    for read_only in (True, False):
        with Checkpointer(directory, read_only=read_only) as checkpointer:
            assert checkpointer.steps() == [3, 6]
            assert checkpointer.latest_step() == checkpointer.step_of("latest") == 6
            assert checkpointer.step_of("best") == 3
            checkpointer.clear_the_way(7, 20)
    assert sorted(map(str, directory.rglob("*"))) == before
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert f"{directory} holds" in lines[0]
    assert f" {name} (" in lines[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_save_of_that_step_works(directory, kind, capsys):
    KINDS[kind](directory)
    (name,) = {path.name for path in directory.iterdir()} - {"3", "6"}
    with Checkpointer(directory) as checkpointer:
        checkpointer.clear_the_way(7, 1000)
        checkpointer.save(999, STATE, 0.9)
        checkpointer.wait()
        assert checkpointer.steps() == [3, 6, 999][-len(checkpointer.steps()) :]
        assert checkpointer.step_of("best") == 999
    moved = directory.with_name("checkpoints_damaged") / name
    if name.startswith("0"):
        assert (directory / name).exists()
    else:
        assert moved.exists() or moved.is_symlink()
        assert f"was moved to {moved}" in capsys.readouterr().out


def test_a_name_without_a_step_is_in_nobodys_way(directory, capsys):
    for name in ("a.orbax-checkpoint-tmp", "²", "08.orbax-checkpoint-tmp-1"):
        (directory / name).write_text("a")
    with Checkpointer(directory) as checkpointer:
        checkpointer.clear_the_way(7, 1000)
    assert not directory.with_name("checkpoints_damaged").exists()
    assert "a.orbax-checkpoint-tmp (not a folder)" in capsys.readouterr().out


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("a")
    with pytest.raises(UserError, match=rf"{tmp_path}/checkpoints"):
        Checkpointer(tmp_path / "checkpoints")


def test_what_a_killed_run_left_is_removed_by_the_next_start_alone(directory, capsys):
    left = directory / "9.orbax-checkpoint-tmp"
    shutil.copytree(directory / "6", left)
    with Checkpointer(directory, read_only=True):
        assert left.exists()
    assert "has not finished" in capsys.readouterr().out
    with Checkpointer(directory):
        assert not left.exists()
    assert f"{left} is a save that a killed run" in capsys.readouterr().out


def test_other_names_are_nobodys_checkpoint(directory):
    for name in ("notes", "step_7", "-7", "7.5", "٣", ".7", "7 "):
        make_folder(directory, name)
    contents = read_contents(Path(directory))
    assert contents.steps == (3, 6)
    assert contents.others == {}
    assert read_contents(Path(directory / "none")).steps == ()
    assert read_contents(Path(directory / "notes")).steps == ()
    assert is_finished(Path(directory / "6"))
    assert not is_finished(Path(directory / "7"))


@pytest.mark.parametrize(
    "content", ["", "[1]", "3", "null", '{"a": 1}', '{"item_handlers": 5, "metrics": []}', "[" * 100_000]
)
def test_a_description_of_the_wrong_kind_harms_nothing(directory, content):
    """Orbax's file about a checkpoint; it is needed neither for the state nor for its score."""
    (directory / "6/_CHECKPOINT_METADATA").write_text(content)
    with Checkpointer(directory) as checkpointer:
        np.testing.assert_array_equal(checkpointer.restore(6, STATE)["params"]["kernel"], STATE["params"]["kernel"])
        assert checkpointer.read_leaves(6).keys() == {"params/kernel"}
        checkpointer.verify_score(6)
        checkpointer.save(7, STATE, 0.1)


def test_the_description_of_a_checkpoint_is_what_is_looked_for(directory):
    """The names in `PARTS` are Orbax's; another version may use others."""
    assert json.loads((directory / "6/_CHECKPOINT_METADATA").read_text())["item_handlers"].keys() >= {
        "state",
        "digests",
    }


def test_a_checkpoint_that_is_deleted_while_it_is_looked_at_is_none(tmp_path, monkeypatch):
    (tmp_path / "7").mkdir()
    place = type(Path(tmp_path))
    iterdir = place.iterdir

    def deleted(path):
        if path.name == "7":
            shutil.rmtree(path)
        return iterdir(path)

    monkeypatch.setattr(place, "iterdir", deleted)
    assert read_contents(Path(tmp_path)).others == {}
