"""One run at a time holds a workdir: who wins, who is dead, and what the loser and the late one hear."""

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.errors import UserError
from unet_jax.runs import hold, loop
from unet_jax.runs.hold import Holder
from unet_jax.runtime import process_table, processes
from unet_jax.storage import paths
from unet_jax.tracking.metrics_file import MetricWriter

SINCE = "2026-01-01 00:00:00 UTC"
OTHER = Holder("other", "node7", 4242, "this", "100", SINCE, SINCE)
ELSEWHERE = dataclasses.replace(OTHER, machine="another")


class World:
    """A clock that only sleeping moves, and a table of the processes of this machine."""

    def __init__(self):
        self.now, self.started, self.on_sleep = 0.0, {os.getpid(): "1", 4242: "100"}, lambda: None

    def sleep(self, seconds):
        self.now += seconds
        self.on_sleep()


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(process_table, "machine", lambda: "this")
    monkeypatch.setattr(process_table, "start_time", lambda pid: world.started.get(pid, ""))
    monkeypatch.setattr(time, "sleep", world.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: world.now)
    monkeypatch.setattr(time, "time", lambda: world.now)
    return world


@pytest.fixture
def file(tmp_path):
    return Path(tmp_path) / hold.NAME


def take(file):
    mine = Holder.of_this_process()
    hold._take(file, mine)
    assert Holder.read(file.read_bytes()).token == mine.token
    assert [path.name for path in file.parent.iterdir()] == [hold.NAME]
    return mine


def test_a_running_holder_keeps_its_workdir(world, file):
    file.write_bytes(OTHER.content())
    with pytest.raises(
        UserError, match=rf"^--workdir={file.parent} .*process 4242 on node7 .*2026.*in a copy .*running\.json$"
    ):
        hold._take(file, Holder.of_this_process())
    assert file.read_bytes() == OTHER.content()
    assert world.now == 0


@pytest.mark.parametrize("started", ["", "101"], ids=["gone", "another process has its number"])
def test_a_dead_holder_of_this_machine_is_replaced_at_once(world, file, started, capsys):
    world.started[4242] = started
    file.write_bytes(OTHER.content())
    take(file)
    assert world.now == 0
    assert capsys.readouterr().out == ""


def test_a_holder_elsewhere_is_replaced_after_a_minute_without_a_sign_of_life(world, file, capsys):
    # A process of that number and time runs here too; it is not the holder.
    file.write_bytes(ELSEWHERE.content())
    take(file)
    assert world.now == hold.STALE_S
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "4242 on node7" in printed
    assert "60 s" in printed


def test_a_holder_elsewhere_that_gives_a_sign_of_life_keeps_its_workdir(world, file):
    """Its clock counts for nothing, only that the file changes."""
    file.write_bytes(ELSEWHERE.content())
    alive = dataclasses.replace(ELSEWHERE, heartbeat="1970-01-01 00:00:00 UTC")
    world.on_sleep = lambda: world.now > 50 and file.write_bytes(alive.content())
    with pytest.raises(UserError, match=r"4242 on node7 .*1970-01-01"):
        hold._take(file, Holder.of_this_process())
    assert file.read_bytes() == alive.content()


def test_another_start_elsewhere_is_watched_from_the_beginning(world, file):
    """While this start waits, another one replaces the dead holder, gives no sign of life, and dies too."""
    file.write_bytes(ELSEWHERE.content())
    newer = dataclasses.replace(ELSEWHERE, token="newer", pid=7)
    world.on_sleep = lambda: world.now == 30 and file.write_bytes(newer.content())
    take(file)
    assert world.now == 30 + hold.STALE_S


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 300, b"{", b"[]", b"3", b'{"token": "a"}', OTHER.content()[:40], b"\xff\xfe", b"[" * 100_000]
    + [
        json.dumps(dataclasses.asdict(OTHER) | change).encode()
        for change in ({"pid": "4242"}, {"pid": True}, {"a": 1}, {"host": "a\n"})
    ],
)
def test_a_file_that_names_no_process_is_replaced_after_a_minute(world, file, content, capsys):
    file.write_bytes(content)
    take(file)
    assert world.now == hold.STALE_S
    assert "running.json that names no process" in capsys.readouterr().out


def test_what_is_no_file_is_an_error(world, tmp_path):
    (tmp_path / "folder" / hold.NAME).mkdir(parents=True)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / hold.NAME).symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    for name in ("folder", "link", "file"):
        with pytest.raises(UserError, match=rf"{tmp_path}/{name}"), hold.hold(Path(tmp_path / name)):
            pass


def test_of_many_starts_that_find_a_dead_holder_one_goes_on(file, monkeypatch):
    monkeypatch.setattr(hold, "POLL_S", 0.01)
    file.write_bytes(dataclasses.replace(OTHER, machine=process_table.machine(), pid=2**22 + 1).content())
    ready, lock, taken, refused = threading.Barrier(8), threading.Lock(), [], []

    def start():
        mine = Holder.of_this_process()
        ready.wait()
        try:
            hold._take(file, mine)
            result, value = taken, mine.token
        except UserError as error:
            result, value = refused, str(error)
        with lock:
            result.append(value)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 7)
    assert Holder.read(file.read_bytes()).token == taken[0]
    assert [path.name for path in file.parent.iterdir()] == [hold.NAME]


def test_a_slow_start_does_not_replace_the_one_that_was_faster(world, file):
    """Both saw the same dead holder; the faster one has replaced it, and has ended its takeover."""
    dead, faster = ELSEWHERE.content(), OTHER.content()
    takeover = hold._Watch(file.with_name(hold.TAKEOVER))
    for newer in (faster, dataclasses.replace(ELSEWHERE, heartbeat="2026-01-01 00:00:07 UTC").content()):
        file.write_bytes(newer)
        assert not hold._replace(file, dead, Holder.of_this_process(), takeover)
        assert file.read_bytes() == newer
        assert not takeover.path.exists()


@pytest.mark.parametrize("holder", [dataclasses.replace(OTHER, pid=1), ELSEWHERE], ids=["here", "elsewhere"])
def test_a_start_that_died_while_it_replaced_a_dead_holder(world, file, holder):
    file.write_bytes(dataclasses.replace(OTHER, pid=1).content())
    file.with_name(hold.TAKEOVER).write_bytes(holder.content())
    take(file)
    assert world.now == (0 if holder.pid == 1 else hold.STALE_S)


def test_a_start_that_is_just_replacing_a_dead_holder_is_waited_for(world, file):
    file.write_bytes(dataclasses.replace(OTHER, pid=1).content())
    takeover = file.with_name(hold.TAKEOVER)
    takeover.write_bytes(OTHER.content())

    def replace():
        if world.now > 1:
            file.write_bytes(OTHER.content())

    world.on_sleep = replace
    with pytest.raises(UserError, match="process 4242 on node7"):
        hold._take(file, Holder.of_this_process())


def test_a_hold_ends_with_its_context_and_leaves_an_empty_folder_as_it_was(tmp_path):
    new, old = Path(tmp_path / "a/new"), Path(tmp_path)
    for folder, inside in ((new, None), (old, ValueError), (old, KeyboardInterrupt), (old, SystemExit)):
        try:
            with hold.hold(folder):
                holder = Holder.read((folder / hold.NAME).read_bytes())
                assert (holder.pid, holder.is_running()) == (os.getpid(), True)
                with pytest.raises(UserError, match=f"process {os.getpid()} "), hold.hold(folder):
                    pass
                if inside:
                    raise inside
        except (ValueError, KeyboardInterrupt, SystemExit) as error:
            ended = type(error)
        else:
            ended = None
        assert ended is inside
        assert not (folder / hold.NAME).exists()
    assert not new.exists()
    with hold.hold(new):
        (new / "metrics.jsonl").write_text("")
    assert [path.name for path in new.iterdir()] == ["metrics.jsonl"]


def test_a_sign_of_life_is_written_and_a_missing_file_is_made_again(world, tmp_path):
    folder = Path(tmp_path)
    with hold.hold(folder) as held:
        file = folder / hold.NAME
        before = Holder.read(file.read_bytes())
        file.write_bytes(dataclasses.replace(before, heartbeat=SINCE).content())
        inode = os.stat(file).st_ino
        held._beat()
        after = Holder.read(file.read_bytes())
        assert after.heartbeat > SINCE
        assert dataclasses.replace(after, heartbeat="") == dataclasses.replace(before, heartbeat="")
        assert os.stat(file).st_ino == inode
        for spoil in (file.unlink, lambda: file.write_bytes(b"\0" * 9)):
            spoil()
            held._beat()
            assert Holder.read(file.read_bytes()).token == before.token
        held.check()
    held._beat()
    assert not file.exists()


def test_a_run_that_was_taken_over_stops_at_its_next_step_and_writes_nothing(world, tmp_path):
    folder = Path(tmp_path)
    with hold.hold(folder) as held:
        writer = MetricWriter(folder / "metrics.jsonl", check=held.check)
        writer.write(1, "train", {})
        # Asleep meanwhile; the thread has not woken up yet.
        paths.write_whole(folder / hold.NAME, OTHER.content())
        world.now += 100
        with pytest.raises(UserError, match=rf"--workdir={folder}: process 4242 on node7 .*taken this run over"):
            writer.write(2, "train", {})
        held._beat()
    assert (folder / hold.NAME).read_bytes() == OTHER.content()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_step_waits_for_the_thread_that_looks(world, tmp_path, monkeypatch):
    """After a sleep both wake up at once."""
    looks, answered = threading.Event(), threading.Event()

    def renew(*_, **__):
        looks.set()
        answered.wait(5)
        return "process 1"

    with hold.hold(Path(tmp_path)) as held:
        monkeypatch.setattr(hold, "_renew", renew)
        world.now += 100
        thread = threading.Thread(target=held._beat)
        thread.start()
        looks.wait(5)
        threading.Timer(0.1, answered.set).start()
        with pytest.raises(UserError, match="process 1 has taken this run over"):
            held.check()
        thread.join()


def test_a_run_that_was_taken_over_by_one_that_has_ended_stops_too(world, tmp_path):
    folder = Path(tmp_path)
    with hold.hold(folder) as held:
        (folder / hold.NAME).unlink()
        world.now += 20
        held._beat()
        assert (folder / hold.NAME).exists()
        (folder / hold.NAME).unlink()
        world.now += hold.STALE_S
        with pytest.raises(UserError, match=r"has ended since, has taken this run over"):
            held.check()
    assert not (folder / hold.NAME).exists()


def test_the_thread_notices_too_and_is_no_reason_to_live_on(tmp_path, monkeypatch):
    monkeypatch.setattr(hold, "BEAT_S", 0.01)
    folder = Path(tmp_path)
    with hold.hold(folder) as held:
        thread = next(thread for thread in threading.enumerate() if thread.name == "holds the workdir")
        assert thread.daemon
        paths.write_whole(folder / hold.NAME, OTHER.content())
        for _ in range(500):
            if held.taken_by:
                break
            time.sleep(0.01)
        assert held.taken_by == OTHER.describe()
    thread.join(5)
    assert not thread.is_alive()


def test_a_disk_error_is_said_once_and_tried_again(world, tmp_path, monkeypatch, capsys):
    folder, written = Path(tmp_path), []

    def fail(path, mine, **_):
        written.append(path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with hold.hold(folder) as held:
        with monkeypatch.context() as patch:
            patch.setattr(hold, "_renew", fail)
            held._beat()
            held._beat()
            world.now += 100
            held.check()
        assert len(written) == 3
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1
        assert "No space left" in printed
        held._beat()
        held.check()


def test_a_forked_process_and_the_other_processes_of_a_job_hold_nothing(world, tmp_path, monkeypatch):
    folder = Path(tmp_path)
    with hold.hold(folder) as held:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            held.release()
        assert (folder / hold.NAME).exists()
        (folder / hold.NAME).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(processes, "on_process_0", lambda action: None)
        with hold.hold(folder) as held:
            held.check()
            assert not (folder / hold.NAME).exists()


def test_a_reader_is_told_of_a_run_that_trains(world, file, capsys):
    for content, expected in (
        (OTHER.content(), r"process 4242 on node7 \(.*\) trains in"),
        (ELSEWHERE.content(), "may still train"),
        (dataclasses.replace(OTHER, pid=1).content(), ""),
        (dataclasses.replace(OTHER, pid=os.getpid(), started="1").content(), ""),
        (b"nonsense", ""),
        (None, ""),
    ):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        hold.note_running(file.parent)
        printed = capsys.readouterr().out
        if expected:
            assert len(printed.splitlines()) == 1
            assert re.search(expected, printed)
        else:
            assert printed == ""


def test_a_second_start_is_refused_before_anything_is_written(config, file):
    holder = dataclasses.replace(OTHER, machine=process_table.machine(), pid=os.getppid())
    holder = dataclasses.replace(holder, started=process_table.start_time(holder.pid))
    file.write_bytes(holder.content())
    for change in ({}, {"seed": 1}, {"loss": {"name": "no such loss"}}):
        config.update(change)
        with pytest.raises(UserError, match=f"process {holder.pid} on node7"):
            loop.train_and_evaluate(config, file.parent)
    assert [path.name for path in file.parent.iterdir()] == [hold.NAME]
    assert file.read_bytes() == holder.content()


def test_a_signal_ends_the_first_process_of_a_container_too(tmp_path, monkeypatch):
    """Linux ignores the signal there where no handler is set; the workdir is free by then, so the process must end."""
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    with hold.hold(Path(tmp_path)):
        handler = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit, match="143"):
            handler(signal.SIGTERM, None)
        assert not (tmp_path / hold.NAME).exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


PROGRAM = """
import sys, time
from etils.epath import Path
from ml_collections import ConfigDict
from unet_jax.runs import hold
with hold.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a number of a process is looked up in /proc")
def test_a_killed_process_is_known_to_be_dead_and_a_terminated_one_tidies_up(tmp_path):
    folder, command = Path(tmp_path), [sys.executable, "-c", PROGRAM, str(tmp_path)]
    for number in (signal.SIGKILL, signal.SIGTERM):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout.readline() == "held\n"
            with pytest.raises(UserError, match=f"process {child.pid} "), hold.hold(folder):
                pass
            child.send_signal(number)
            assert child.wait(30) == -number
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
        assert (folder / hold.NAME).exists() == (number == signal.SIGKILL)
        started = time.monotonic()
        with hold.hold(folder):
            assert time.monotonic() - started < 5


def test_a_link_to_a_workdir_may_be_led_elsewhere_while_the_run_trains(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "run")
    opened = []

    def open_(config, workdir, **options):
        opened.append(workdir)
        raise UserError("seen enough")

    monkeypatch.setattr(loop, "open_training_run", open_)
    with pytest.raises(UserError, match="seen enough"):
        loop.train_and_evaluate(ConfigDict(), tmp_path / "latest")
    assert [os.fspath(path) for path in opened] == [os.path.realpath(tmp_path / "run")]
