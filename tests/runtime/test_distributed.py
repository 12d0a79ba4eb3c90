"""Joining a job of several processes: detection and errors. (tests/runs/test_shared_workdir.py runs two processes.)"""

import socket

import jax
import pytest

from unet_jax.errors import UserError
from unet_jax.runtime import distributed, processes


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
        # The batch script has this variable, but is one process.
        ("SLURM_NTASKS", "4", ""),
    ],
)
def test_launchers_are_detected(monkeypatch, variable, value, name):
    monkeypatch.setenv(variable, value)
    assert distributed.launcher() == name


@pytest.fixture
def joined(monkeypatch):
    """Records the arguments of `jax.distributed.initialize`."""
    calls = []
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments, **_: calls.append(arguments))
    return calls


@pytest.mark.parametrize(
    ("launched", "arguments", "calls"),
    [
        ("", (), []),
        ("4", (), [(None, None, None)]),
        ("4", (False,), []),
        ("", (True,), [(None, None, None)]),
        ("", (None, "h:1", 2, 1), [("h:1", 2, 1)]),
    ],
)
def test_who_joins(monkeypatch, joined, launched, arguments, calls):
    if launched:
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", launched)
    with distributed.join_job(*arguments):
        pass
    assert joined == calls


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, "h:1"), "^--coordinator, --num_processes and --process_id .*--coordinator=HOST:PORT"),
        ((None, "", 2, 0), "^--coordinator, --num_processes and --process_id .*--coordinator=HOST:PORT"),
        ((None, "h:1", 2, 2), "--process_id=2 .*--num_processes=2"),
        ((False, "h:1", 2, 0), "^--nomultiprocess .*--coordinator, --num_processes and --process_id"),
    ],
)
def test_an_incomplete_job_is_an_error(joined, arguments, message):
    with pytest.raises(UserError, match=message), distributed.join_job(*arguments):
        pass
    assert joined == []


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            ValueError("coordinator_address should be defined."),
            r"^--multiprocess: .*\(coordinator_address .*--coordinator=",
        ),
        (RuntimeError("late"), r"^--multiprocess: .*\(late\).*--num_processes"),
    ],
)
def test_a_job_that_cannot_be_joined_has_a_remedy(monkeypatch, raised, message):
    def fails(*_, **__):
        raise raised

    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", fails)
    with pytest.raises(UserError, match=message), distributed.join_job(True):
        pass


def test_errors_of_lost_processes_are_recognised():
    error = jax.errors.JaxRuntimeError
    assert distributed.is_lost_process(error("UNKNOWN: Gloo all-reduce failed: Connection closed by peer"))
    assert distributed.is_lost_process(error("NCCL operation ncclAllReduce() failed: remote process exited"))
    assert not distributed.is_lost_process(error("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes"))
    assert not distributed.is_lost_process(ValueError("connection"))


def test_a_taken_port_is_refused(joined):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"--coordinator=h:{port}: port {port} .*another port"):
            distributed.join_job(None, f"h:{port}", 2, 0).__enter__()
    with pytest.raises(UserError, match="--coordinator=h has no port"):
        distributed.join_job(None, "h", 2, 0).__enter__()
    assert joined == []
    with distributed.join_job(None, f"h:{port}", 2, 0):
        assert len(joined) == 1


def test_processes_of_other_versions_are_refused(monkeypatch, joined):
    seen = []
    monkeypatch.setattr(processes, "check_same", lambda values, *_, **__: seen.append(values))
    for version in ("0.1.0", "0.2.0"):
        monkeypatch.setattr(distributed, "__version__", version)
        with distributed.join_job(True):
            pass
    differing = {name for name in seen[0] if seen[0][name] != seen[1][name]}
    assert differing == {"the version of unet-jax"}
    assert {"the version of jax", "the version of jaxlib"} < seen[0].keys()
