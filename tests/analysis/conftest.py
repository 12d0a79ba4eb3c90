"""Fixtures that several files share."""

import functools

import numpy as np
import pytest
from helpers.compared_runs import LATER, STEP, write_run

from unet_jax.checkpoints.checkpointer import Checkpointer


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "checkpoints"
    with Checkpointer(path) as checkpointer:
        checkpointer.save(STEP, {"w": np.ones(1)}, 0.9)
        checkpointer.save(LATER, {"w": np.ones(1)}, 0.8)
    return path


@pytest.fixture
def make(checkpoints, tmp_path):
    """make(name, **values of the config by dotted key) -> workdir of a made-up run, scored on train and val."""
    return functools.partial(write_run, tmp_path, checkpoints)
