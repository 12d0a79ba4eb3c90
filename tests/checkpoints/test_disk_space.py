"""A folder that cannot be written is an error before the first step; a full disk is one later, and loses no checkpoint."""

import builtins
import errno
import os
import re
import resource
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from unet_jax.checkpoints import disk_space
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.runs import loop, training_run


def make_state(step):
    return {"params": {"kernel": np.random.default_rng(step).normal(size=(64, 64)).astype(np.float32)}}


def test_a_folder_that_can_be_made_is_left_as_it_was(tmp_path):
    disk_space.check_writable(tmp_path / "a/b")
    (tmp_path / "checkpoints").mkdir()
    disk_space.check_writable(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["checkpoints"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc/self, a folder where nobody can write")
def test_an_unwritable_workdir_is_found_before_the_data(config, tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "build_experiment", lambda *_: pytest.fail("the data were prepared"))
    (tmp_path / "file").write_text("")
    (tmp_path / "checkpoints").symlink_to("/proc/self")
    for workdir, message in (
        ("/proc/run", ": .* /proc .*another --workdir"),
        ("/proc/self", rf": .* /proc/{os.getpid()} .*another --workdir"),
        (tmp_path, f": .* {tmp_path}/checkpoints .*another --workdir"),
        (tmp_path / "file", f": {tmp_path}/file is a file"),
        (tmp_path / "file/run", f": {tmp_path}/file is a file"),
    ):
        with pytest.raises(UserError, match=f"--workdir={os.path.realpath(workdir)} .*{message}"):
            loop.train_and_evaluate(config, workdir)


def test_little_room_is_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: SimpleNamespace(free=4_000_000))
    # Two latest, the best, and the one that is being written.
    disk_space.warn_if_disk_is_small(tmp_path, 1_000_000, latest=2, saved=0)
    disk_space.warn_if_disk_is_small(tmp_path, 2_000_000, latest=2, saved=2)
    assert capsys.readouterr().out == ""
    disk_space.warn_if_disk_is_small(tmp_path, 1_000_001, latest=2, saved=0)
    assert re.search(r"4\.00 MB .* 4 .* 1\.00 MB .*checkpoint\.latest is 2", capsys.readouterr().out)
    # At least one more is written.
    disk_space.warn_if_disk_is_small(tmp_path, 4_000_001, latest=2, saved=9)
    assert re.search(r"4\.00 MB .* 1 .* 4\.00 MB ", capsys.readouterr().out)


@pytest.fixture
def small_files():
    """Limits files to 4 KiB. For TensorStore that is like a full disk, with another error number."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("then", ["wait", "save", "close"])
def test_a_failed_save_is_reported_once_and_others_are_intact(tmp_path, small_files, then):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, make_state(1), 0.5)
    checkpointer.wait()
    small_files()
    checkpointer.save(2, make_state(2), 0.6)
    calls = {
        "wait": checkpointer.wait,
        "save": lambda: checkpointer.save(3, make_state(3)),
        "close": checkpointer.close,
    }
    message = r"checkpoint 2 .*File too large.* 0\.02 MB .* 0\.\d\d MB.* MB .*checkpoint\.latest.* step 1"
    with pytest.raises(UserError, match=message):
        calls[then]()
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    checkpointer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    with Checkpointer(tmp_path) as checkpointer:
        assert (checkpointer.steps(), checkpointer.best_step()) == ([1], 1)
        checkpointer.restore(1, make_state(1))
        checkpointer.save(2, make_state(2), 0.6)
        checkpointer.wait()
        checkpointer.restore(2, make_state(2))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_small_file_that_does_not_fit_any_more(tmp_path, monkeypatch, number):
    """Orbax writes the digests in the background, without TensorStore, and raises the system's error."""
    open_ = builtins.open

    def full(path, *args, **kwargs):
        if Path(path).name == "metadata":
            raise OSError(number, os.strerror(number), str(path))
        return open_(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", full)
    with (
        pytest.raises(UserError, match=rf"checkpoint 1 .*\({os.strerror(number)}\): ") as caught,
        Checkpointer(tmp_path / "checkpoints") as checkpointer,
    ):
        checkpointer.save(1, make_state(1))
    assert ("checkpoint.latest" in str(caught.value)) == (number != errno.EROFS)
    # No checkpoint was saved before it.
    assert " step " not in str(caught.value)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_half_written_checkpoint_goes_when_the_run_resumes(tmp_path):
    half = tmp_path / "7.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "_CHECKPOINT_METADATA").write_text("{}")
    with Checkpointer(tmp_path, read_only=True) as checkpointer:
        assert checkpointer.steps() == []
    assert half.exists()
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, make_state(1))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_another_error_keeps_its_traceback(tmp_path):
    with (
        pytest.raises(ValueError, match="RESOURCE_EXHAUSTED: of memory"),
        Checkpointer(tmp_path) as checkpointer,
        checkpointer._translate_save_errors(),
    ):
        raise ValueError("RESOURCE_EXHAUSTED: of memory")
