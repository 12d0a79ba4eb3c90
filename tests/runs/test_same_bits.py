"""What a resumed run says where its bits are not those of an uninterrupted one."""

import copy
import json
import os

import pytest
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.runs import same_bits
from unet_jax.runs.workdir import versions
from unet_jax.runtime import processor

# What versions.json must have, too.
FACTS = {"fingerprint": "a", "class_names": ["a"], "channels": 1, "overlapping": False, "palette": [], "splits": {}}


@pytest.fixture(scope="module")
def record():
    made = json.loads(json.dumps(versions())) | {"start_step": 0, "device_count": 1}
    made["cpu"] |= {"threads": 2}
    return made


def changed(record, **values):
    """Returns a copy of a record with values by dotted key; None removes the key."""
    other = copy.deepcopy(record)
    for key, value in values.items():
        *sections, name = key.split("/")
        node = other
        for section in sections:
            node = node[section]
        if value is None:
            del node[name]
        else:
            node[name] = value
    return other


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cpu/threads": 1}, ["CPU cores 2 there, 1 now (NPROC=2 "]),
        ({"cpu/threads": 4, "device_count": 4}, ["CPU cores 2 there, 4 now", "devices 1 there, 4 now"]),
        ({"cpu/model": "other"}, ["processor ", "'other' now"]),
        ({"cpu/instructions": ["avx", "avx1024"]}, ["avx1024"]),
        ({"device_kind": "NVIDIA L4", "cpu/threads": 9}, ["device 'cpu' there, 'NVIDIA L4' now"]),
        ({"xla_flags": "--a"}, ["XLA_FLAGS ", "'--a' now"]),
        ({"packages/jax": "0.1"}, ["jax ", "0.1 now"]),
        ({"packages/libtpu": "0.0.9"}, ["libtpu none there, 0.0.9 now"]),
        ({"jax_config/jax_enable_x64": True}, ["jax_enable_x64 False there, True now"]),
    ],
)
def test_what_changes_bits_is_named(record, values, words):
    differing = "; ".join(same_bits.changes(record, changed(record, **values)))
    assert all(word in differing for word in words), differing


@pytest.mark.parametrize(
    "values",
    [
        {},
        # Earlier versions did not record them.
        {"cpu": None},
        {"jax_config/jax_disable_jit": None},
        {"process_count": None},
        # They compute no step.
        {"packages/pillow": "0.1", "git_commit": "other", "platform": "other", "cpu/cores": 99},
    ],
)
def test_what_changes_no_bits_is_passed_over(record, values):
    other = changed(record, **values)
    assert same_bits.changes(record, other) == same_bits.changes(other, record) == []


def test_threads_do_not_count_on_a_gpu(record):
    gpu = changed(record, device_kind="NVIDIA L4")
    assert same_bits.changes(gpu, changed(gpu, **{"cpu/threads": 9})) == []


def test_the_start_that_led_here_counts(record, tmp_path):
    def note(start_step, *threads_by_step):
        starts = [changed(record, **{"cpu/threads": n}) | {"start_step": step} for step, n in threads_by_step]
        (tmp_path / "versions.json").write_text(json.dumps({"data": FACTS, "starts": starts}))
        return same_bits.note_of_change(Path(tmp_path), start_step)

    line = note(6, (0, 2), (6, 1))
    assert line.startswith("note: not bit-equal from here")
    assert "CPU cores 2 there, 1 now" in line
    assert "\n" not in line
    assert note(6, (0, 2), (6, 2)) == note(0, (0, 2)) == ""
    # No step of the second start was saved.
    assert note(6, (0, 2), (6, 1), (6, 2)) == ""
    # The run goes back to a checkpoint of the first start.
    assert note(3, (0, 2), (6, 1), (3, 2)) == ""
    assert "CPU cores 1 there, 2 now" in note(9, (0, 2), (6, 1), (9, 2))
    (tmp_path / "versions.json").write_text("{")
    with pytest.raises(UserError, match=rf"{tmp_path}/versions\.json"):
        same_bits.note_of_change(Path(tmp_path), 3)


def test_threads_are_those_of_xla(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    monkeypatch.delenv("NPROC", raising=False)
    assert [processor.xla_threads(devices) for devices in (1, 4)] == [3, 4]
    for nproc, threads in {"8": 8, "1": 1, " +2 ": 2, "0": 1, "-1": 1, "": 3, "two": 3, "2.5": 3}.items():
        monkeypatch.setenv("NPROC", nproc)
        assert processor.xla_threads(1) == threads, nproc
    assert processor.describe(2)["cores"] == 3
