"""Looks up processes by number and start time, on Linux and, through `ps`, elsewhere."""

import os
import subprocess
import sys

import pytest

from unet_jax.runtime import process_table

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_a_process_that_runs_and_one_that_has_ended():
    assert process_table.start_time(os.getpid()).isdigit()
    child = subprocess.Popen(["sleep", "60"])
    try:
        started = process_table.start_time(child.pid)
        assert started == process_table.start_time(child.pid) != ""
        child.kill()
        # Not waited for yet: its number is in the table, but it runs no more.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process_table.start_time(child.pid) == ""
    finally:
        child.kill()
        child.wait()
    assert process_table.start_time(child.pid) == ""


@linux
def test_a_name_with_brackets_and_a_table_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(process_table, "PROC", tmp_path)
    fields = " ".join(["S", *map(str, range(4, 22)), "777", "more"])
    for pid, text in ((1, f"1 (a) b (c) {fields}"), (2, f"2 (x) Z {fields[2:]}"), (3, "3 (cut"), (4, "")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / f"{pid}/stat").write_text(text)
    (tmp_path / "6").mkdir()
    (tmp_path / "6/stat").mkdir()
    # No process has so high a number.
    pids = (1, 2, 3, 4, 2**31 - 2, 6, 10**30)
    assert [process_table.start_time(pid) for pid in pids] == ["777", "", None, None, "", None, ""]
    assert process_table.machine() == ""


@linux
@pytest.mark.parametrize("error", [None, PermissionError])
def test_a_process_of_another_user_may_be_hidden_and_is_not_taken_for_dead(tmp_path, monkeypatch, error):
    def kill(pid, number):
        assert number == 0
        if error:
            raise error

    monkeypatch.setattr(process_table, "PROC", tmp_path)
    monkeypatch.setattr(os, "kill", kill)
    assert process_table.start_time(4321) is None


@linux
def test_a_machine_is_a_boot_and_a_namespace():
    boot, namespace = process_table.machine().split()
    assert len(boot) == 36
    assert namespace.startswith("pid:[")


def test_elsewhere_ps_is_asked(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    started = process_table.start_time(os.getpid())
    assert started
    assert started == process_table.start_time(os.getpid())
    # No process has so high a number.
    assert process_table.start_time(2**31 - 2) == ""
    monkeypatch.setattr(process_table.uuid, "getnode", lambda: 0x0123456789AB | 1 << 40)
    assert process_table.machine() == ""
    monkeypatch.setattr(process_table.uuid, "getnode", lambda: 0x0023456789AB)
    assert process_table.machine().startswith("23456789ab ")
    monkeypatch.setenv("PATH", "")
    assert process_table.start_time(os.getpid()) is None
