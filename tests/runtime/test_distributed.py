"""Joining a job: what is detected, and what is refused. (Two processes at work: training/test_together.py.)"""

import jax
import pytest

from unet_jax.errors import UserError
from unet_jax.runtime import distributed


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for variable in distributed.LAUNCHERS.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("SLURM_STEP_NUM_TASKS", "4", "Slurm"),
        ("OMPI_COMM_WORLD_SIZE", "2", "Open MPI"),
        ("SLURM_STEP_NUM_TASKS", "1", ""),
        ("SLURM_NTASKS", "4", ""),  # of the batch script itself, which is one process
    ],
)
def test_launchers_tell(monkeypatch, variable, value, name):
    monkeypatch.setenv(variable, value)
    assert distributed.launcher() == name


@pytest.fixture
def joined(monkeypatch):
    """What `jax.distributed.initialize` was called with."""
    calls = []
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given, **_: calls.append(given))
    return calls


@pytest.mark.parametrize(
    ("found", "given", "calls"),
    [
        ("", (), []),
        ("4", (), [(None, None, None)]),
        ("4", (False,), []),
        ("", (True,), [(None, None, None)]),
        ("", (None, "h:1", 2, 1), [("h:1", 2, 1)]),
    ],
)
def test_who_joins(monkeypatch, joined, found, given, calls):
    if found:
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", found)
    with distributed.member(*given):
        pass
    assert joined == calls


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, "h:1"), "go together: give --coordinator=HOST:PORT"),
        ((None, "", 2, 0), "go together"),
        ((None, "h:1", 2, 2), "--process_id=2 is not one of 2 processes"),
        ((False, "h:1", 2, 0), "--nomultiprocess: nothing is joined"),
    ],
)
def test_halves_are_refused(joined, given, message):
    with pytest.raises(UserError, match=message), distributed.member(*given):
        pass
    assert joined == []


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ValueError("coordinator_address should be defined."), "nothing tells"),
        (RuntimeError("late"), "cannot be joined"),
    ],
)
def test_what_cannot_be_joined_has_a_remedy(monkeypatch, raised, message):
    def fails(*_, **__):
        raise raised

    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", fails)
    with pytest.raises(UserError, match=message), distributed.member(True):
        pass


def test_an_error_of_its_own_is_not_a_lost_process():
    error = jax.errors.JaxRuntimeError
    assert distributed.is_lost(error("UNKNOWN: Gloo all-reduce failed: Connection closed by peer"))
    assert distributed.is_lost(error("NCCL operation ncclAllReduce() failed: remote process exited"))
    assert not distributed.is_lost(error("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes"))
    assert not distributed.is_lost(ValueError("connection"))
