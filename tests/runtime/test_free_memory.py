"""The free memory, under the limits of containers and shells."""

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from unet_jax.errors import UserError
from unet_jax.runtime import memory


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """The folder of a cgroup without a limit; the process is in its root, as in a container."""
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("40000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 10000\n")
    return tmp_path


def test_a_container_leaves_what_is_below_its_limit(cgroups):
    without_limit = memory.free_host_memory()
    assert without_limit > 1e6
    assert memory.memory_limit() > 1e6
    (cgroups / "memory.max").write_text("100000\n")
    # The pages of files that Linux drops count as free.
    assert memory.free_host_memory() == 100000 - 40000 + 10000
    assert memory.memory_limit() == 100000
    (cgroups / "memory.current").write_text("200000\n")
    assert memory.free_host_memory() == 0


@pytest.mark.usefixtures("cgroups")
def test_a_limit_of_the_address_space_counts(monkeypatch):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 350e6
    monkeypatch.setattr(resource, "getrlimit", lambda _: (int(limit), resource.RLIM_INFINITY))
    assert memory.free_host_memory() == pytest.approx(350e6 / memory.ADDRESS_SPACE, rel=0.2)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert memory.free_host_memory() > 150e6


def test_an_accelerator_says_what_it_has():
    device = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 100, "bytes_in_use": 30})
    assert memory.free_device_memory(device) == 70
    assert memory.free_device_memory(SimpleNamespace(memory_stats=lambda: None)) is None


def test_the_default_of_a_prediction_is_the_same_on_machines_of_one_kind(cgroups):
    cpu = [SimpleNamespace(platform="cpu")]
    budgets = []
    for limit in (100000, 99000):
        (cgroups / "memory.max").write_text(f"{limit}\n")
        budgets.append(memory.prediction_budget(cpu))
    assert budgets == [24576, 24576]
    gpu = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 2**20})
    assert memory.prediction_budget([gpu]) == 2**18
    assert memory.prediction_budget([gpu, gpu]) == 2**19


@pytest.mark.parametrize("text", ["", "much", "0", "-1", "1.5.2GiB", "2 PiB", "9" * 400])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UserError, match=r"^--memory=.*: give a size, such as 300MiB or 2GiB$"):
        memory.to_bytes(text, "--memory=")
    assert not memory.is_size(text)
