"""A checkpoint is chosen again where the run that trains deletes it before it is read."""

import shutil

import numpy as np
import pytest

from unet_jax.checkpoints import chosen
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.chosen import read_chosen
from unet_jax.errors import UserError


def state(step):
    return {"params": {"kernel": np.full(3, step, np.float32)}}


@pytest.fixture
def directory(tmp_path):
    with Checkpointer(tmp_path / "checkpoints") as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, state(step), step / 10)
    return tmp_path / "checkpoints"


def deleting(path, seen):
    """Returns a reader that finds the checkpoint at `path` deleted after it was chosen."""

    def read(checkpointer, step):
        seen.append(step)
        if path.exists():
            shutil.rmtree(path)
        return float(checkpointer.restore(step, state(0))["params"]["kernel"][0])

    return read


@pytest.mark.parametrize("which", ["best", "latest"])
def test_a_checkpoint_that_is_deleted_is_not_called_damaged(directory, which):
    seen = []
    assert read_chosen(directory, which, deleting(directory / "2", seen)) == (1, 1.0)
    assert seen == [2, 1]


def test_a_step_that_is_deleted_is_said_to_be_missing(directory):
    with pytest.raises(UserError, match=r"checkpoint 2 is not in .*; give one of: best, latest, 1$"):
        read_chosen(directory, 2, deleting(directory / "2", []))


def test_a_deletion_that_goes_on_is_waited_for_and_damage_stays_damage(directory, monkeypatch):
    # A part of the checkpoint is gone, and it still looks whole.
    seen, part = [], directory / "2/state/d"
    monkeypatch.setattr(chosen.time, "sleep", lambda seconds: None)
    with pytest.raises(UserError, match=r"checkpoint 2 .*: state cannot be read"):
        read_chosen(directory, "best", deleting(part, seen))
    assert seen == [2]
    monkeypatch.setattr(chosen.time, "sleep", lambda seconds: shutil.rmtree(directory / "2"))
    assert read_chosen(directory, "best", deleting(part, seen)) == (1, 1.0)
