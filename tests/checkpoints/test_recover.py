"""A resumed run names each damaged checkpoint, moves it away, and uses the previous one."""

import errno
import os
import re
import shutil

import numpy as np
import pytest

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.integrity import DamagedCheckpoint
from unet_jax.checkpoints.recover import restore_latest
from unet_jax.errors import UserError


def make_state(step=0):
    kernel = np.random.default_rng(step).normal(size=(32, 32)).astype(np.float32)
    return {"params": {"x_0_0": {"kernel": kernel}}, "step": np.int32(step)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Saves three checkpoints that no test changes; the first is the best."""
    directory = tmp_path_factory.mktemp("whole") / "checkpoints"
    with Checkpointer(directory) as checkpointer:
        for step, score in ((1, 0.6), (2, 0.3), (3, 0.5)):
            checkpointer.save(step, make_state(step), score)
    return directory


@pytest.fixture
def directory(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def flip(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def truncate(step):
    for path in (step / "state/d").iterdir():
        path.write_bytes(path.read_bytes()[:50])


DAMAGES = {
    "a file cut off": (truncate, r"state .*OUT_OF_RANGE: .*state/d/"),
    "an empty state": (lambda step: empty(step / "state"), ": state "),
    "another sha256": (
        lambda step: flip(step / "digests/metadata", b'step": "', b'step": "_'),
        r"damaged: step .*sha256",
    ),
    "another name": (
        lambda step: flip(step / "digests/metadata", b"x_0_0", b"x_0_8"),
        "damaged: digests .*state",
    ),
    "empty digests": (lambda step: empty(step / "digests"), ": digests "),
    "digests that are a list": (lambda step: (step / "digests/metadata").write_text("[1]"), "digests/metadata"),
    "digests that are numbers": (
        lambda step: (step / "digests/metadata").write_text('{"params/x_0_0/kernel": 1, "step": []}'),
        "damaged: .*sha256",
    ),
    "digests far too deep": (lambda step: (step / "digests/metadata").write_text("[" * 100_000), ": digests "),
    "digests cut off": (lambda step: (step / "digests/metadata").write_text('{"st'), ": digests "),
    "no score": (lambda step: shutil.rmtree(step / "metrics"), "metrics/metrics.* missing"),
    "a score cut off": (lambda step: (step / "metrics/metrics").write_text('{"sco'), r"metrics/metrics.* \(.*char"),
    "a score that is a list": (lambda step: (step / "metrics/metrics").write_text("[0.5]"), "metrics/metrics"),
    "a score that is a number": (lambda step: (step / "metrics/metrics").write_text("0.5"), "metrics/metrics"),
    "a score that is nothing": (lambda step: (step / "metrics/metrics").write_text("null"), "metrics/metrics"),
    "a score far too deep": (lambda step: (step / "metrics/metrics").write_text("[" * 100_000), "metrics/metrics"),
    "a score of a wrong type": (
        lambda step: (step / "metrics/metrics").write_text('{"score": "0.5", "sha256": 5}'),
        "metrics/metrics",
    ),
    "another score": (
        lambda step: flip(step / "metrics/metrics", b"0.5", b"0.7"),
        "metrics/metrics.* not what was written",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_is_used(directory, damage, capsys):
    spoil, why = DAMAGES[damage]
    spoil(directory / "3")
    with Checkpointer(directory, read_only=True) as checkpointer:
        assert checkpointer.step_of("best") == 1
    with Checkpointer(directory) as checkpointer:
        step, state = restore_latest(checkpointer, make_state())
        assert step == 2
        np.testing.assert_array_equal(state["params"]["x_0_0"]["kernel"], make_state(2)["params"]["x_0_0"]["kernel"])
        printed = capsys.readouterr().out
        assert re.search(rf"warning: checkpoint 3 in {directory}.*{why}", printed)
        assert f"moved to {directory}_damaged/3;" in printed
        assert re.search(r"warning: .* from .* step 2$", printed, re.MULTILINE)
        assert (directory.parent / "checkpoints_damaged/3").is_dir()
        checkpointer.save(3, make_state(3), 0.5)
    # The same step can be damaged a second time.
    with Checkpointer(directory) as checkpointer:
        assert checkpointer.steps() == [1, 2, 3]
        spoil(directory / "3")
        assert restore_latest(checkpointer, make_state())[0] == 2
    assert (directory.parent / "checkpoints_damaged/3.2").is_dir()


def test_nothing_whole_is_an_error_and_stays_one(directory, capsys):
    for step in (1, 2, 3):
        truncate(directory / str(step))
    # Twice, because the same command must not start from step 0 at the second attempt.
    for _ in range(2):
        with (
            Checkpointer(directory) as checkpointer,
            pytest.raises(UserError, match=r"checkpoint 3 .*checkpoint 2 .*checkpoint 1 .*--workdir"),
        ):
            restore_latest(checkpointer, make_state())
    assert not directory.with_name("checkpoints_damaged").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("why", "match"),
    [("another network", "checkpoint 3 .*params/x_9_9/kernel"), ("no permission", "checkpoint 3 .*Permission denied")],
)
def test_what_is_no_damage_is_an_error(directory, monkeypatch, why, match):
    like = make_state()
    with Checkpointer(directory) as checkpointer:
        if why == "another network":
            like["params"]["x_9_9"] = like["params"]["x_0_0"]
        else:
            monkeypatch.setattr(checkpointer._manager, "restore", lambda *_, **__: open_denied())
        with pytest.raises(UserError, match=match) as caught:
            restore_latest(checkpointer, like)
        assert not isinstance(caught.value, DamagedCheckpoint)
        assert checkpointer.steps() == [1, 2, 3]


def open_denied():
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_damaged_score_does_not_delete_its_checkpoint(directory, capsys):
    (directory / "1/metrics/metrics").write_text("")
    with Checkpointer(directory) as checkpointer:
        assert restore_latest(checkpointer, make_state())[0] == 3
        checkpointer.save(4, make_state(4), 0.1)
    printed = capsys.readouterr().out
    assert "checkpoint 1 in" in printed
    assert not re.search(r" from .* step \d$", printed, re.MULTILINE)
    assert (directory.parent / "checkpoints_damaged/1/state").is_dir()


@pytest.mark.parametrize("score", [float("nan"), -1.0])
def test_an_intact_score_counts_as_written(tmp_path, score):
    """NaN counts too, although NaN does not equal NaN."""
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, make_state(), score)
        checkpointer.wait()
        checkpointer.verify_score(1)
        assert checkpointer.best_step() == 1


def test_a_score_without_its_digest_is_damaged(directory, capsys):
    (directory / "2/metrics/metrics").write_text('{"score": 0.9}')
    with Checkpointer(directory, read_only=True) as checkpointer:
        with pytest.raises(DamagedCheckpoint, match=r"checkpoint 2 .*metrics/metrics"):
            checkpointer.verify_score(2)
        assert checkpointer.best_step() == 1
        for _ in range(2):
            assert checkpointer.step_of("best") == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(r"warning: checkpoint 2 in .*metrics/metrics.*among the others", line)
