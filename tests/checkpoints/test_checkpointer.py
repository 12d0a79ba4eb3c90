"""Checkpoints: which are kept, restoring a part, and detecting and naming damage."""

import json
import shutil

import jax
import numpy as np
import optax
import pytest

from unet_jax.checkpoints import orbax_manager
from unet_jax.checkpoints.checkpointer import REPLACING, Checkpointer
from unet_jax.checkpoints.finished import read_contents
from unet_jax.checkpoints.orbax_manager import Manager
from unet_jax.checkpoints.tree import leaf_digest
from unet_jax.errors import UserError
from unet_jax.storage import paths
from unet_jax.training.state import TrainState


def make_state(seed=0):
    rng = np.random.default_rng(seed)
    params = {name: {"kernel": rng.normal(size=(64, 64)).astype(np.float32)} for name in ("x_0_0", "x_0_1")}
    opt_state = jax.tree.map(np.asarray, optax.adam(1e-3).init(params))
    return TrainState(step=np.int32(seed), params=params, batch_stats={}, opt_state=opt_state)


@pytest.fixture
def directory(tmp_path):
    """Saves five checkpoints: the second is the best, the third has the score NaN, the fourth has none."""
    with Checkpointer(tmp_path / "checkpoints") as checkpointer:
        for step, score in ((1, 0.3), (2, 0.6), (3, float("nan")), (4, None), (5, 0.5)):
            checkpointer.save(step, make_state(step), score)
    return tmp_path / "checkpoints"


def open_(directory):
    return Checkpointer(directory, read_only=True)


def test_latest_two_and_best_are_kept(directory):
    with open_(directory) as checkpointer:
        assert checkpointer.step_of("latest") == 5
        assert checkpointer.step_of("best") == 2
        assert checkpointer.step_of("4") == 4
        for which in ("3", "²", "-1", "9" * 5000, 3.0):
            with pytest.raises(UserError, match=rf"checkpoint '?{which}'? .*: best, latest, 2, 4, 5$"):
                checkpointer.step_of(which)


def test_restores_what_was_saved_with_its_types(directory):
    with open_(directory) as checkpointer:
        restored = checkpointer.restore(5, make_state())
    assert jax.tree.structure(restored) == jax.tree.structure(make_state())
    jax.tree.map(np.testing.assert_array_equal, restored, make_state(5))


def test_a_part_restores_by_name(directory):
    part = {"params": {"x_0_1": make_state().params["x_0_1"]}}
    with open_(directory) as checkpointer:
        restored = checkpointer.restore(2, part)
    np.testing.assert_array_equal(restored["params"]["x_0_1"]["kernel"], make_state(2).params["x_0_1"]["kernel"])


def test_another_network_is_an_error(directory):
    with open_(directory) as checkpointer:
        with pytest.raises(UserError, match=r"checkpoint 5 .*params/x_9_9/kernel"):
            checkpointer.restore(5, {"params": {"x_9_9": make_state().params["x_0_1"]}})
        with pytest.raises(UserError, match=r"checkpoint 5 .*params/x_0_1/kernel .*float32\[64, 64\].*float32\[3\]"):
            checkpointer.restore(5, {"params": {"x_0_1": {"kernel": np.zeros(3, np.float32)}}})


def test_same_state_twice_is_no_error(directory):
    with Checkpointer(directory) as checkpointer:
        checkpointer.save(5, make_state(5), 0.5)
    with open_(directory) as checkpointer:
        assert checkpointer.step_of("latest") == 5


def test_a_checkpoint_without_a_score_is_saved_again_with_one(directory):
    with Checkpointer(directory) as checkpointer:
        checkpointer.save(4, make_state(40), 0.9)
        assert checkpointer.is_scored(4)
        assert checkpointer.step_of("best") == 4
        checkpointer.save(6, make_state(6), 0.1)
    with open_(directory) as checkpointer:
        assert checkpointer.steps() == [4, 5, 6]
        jax.tree.map(np.testing.assert_array_equal, checkpointer.restore(4, make_state()), make_state(40))
    assert [path.name for path in directory.parent.iterdir()] == ["checkpoints"]


def test_the_former_checkpoint_stays_until_the_new_one_is_whole(directory, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with Checkpointer(directory) as checkpointer:
        for subject, name in ((Manager, "save"), (paths, "replace")):
            with monkeypatch.context() as patch:
                patch.setattr(subject, name, die)
                with pytest.raises(Killed):
                    checkpointer.save(4, make_state(40), 0.9)
            with open_(directory) as reader:
                jax.tree.map(np.testing.assert_array_equal, reader.restore(4, make_state()), make_state(4))
        # What is left where the process had no time to tidy up.
        (directory.parent / REPLACING / "4").mkdir(parents=True)
        checkpointer.save(4, make_state(40), 0.9)
    with open_(directory) as reader:
        assert reader.step_of("best") == 4
    assert [path.name for path in directory.parent.iterdir()] == ["checkpoints"]


def test_a_run_may_delete_a_checkpoint_while_the_folder_is_opened(directory, monkeypatch):
    def read_and_delete(folder):
        contents = read_contents(folder)
        shutil.rmtree(directory / "4", ignore_errors=True)
        return contents

    monkeypatch.setattr(orbax_manager, "read_contents", read_and_delete)
    with open_(directory) as checkpointer:
        assert checkpointer.step_of("best") == 2


def test_a_flipped_bit_is_detected(directory):
    """Orbax alone restores it without an error."""
    largest = max((directory / "5" / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with (
        open_(directory) as checkpointer,
        pytest.raises(UserError, match=r"checkpoint 5 .*damaged: .*sha256"),
    ):
        checkpointer.restore(5, make_state())


def test_a_missing_file_is_named(directory):
    for path in (directory / "5" / "state").rglob("d/*"):
        path.unlink()
    with open_(directory) as checkpointer, pytest.raises(UserError, match=r"checkpoint 5 .*: state "):
        checkpointer.restore(5, make_state())


def test_no_checkpoint_at_all(tmp_path):
    with (
        Checkpointer(tmp_path / "new") as checkpointer,
        pytest.raises(UserError, match=r"/new .*train --workdir="),
    ):
        checkpointer.step_of("best")


def test_the_score_of_another_checkpoint_is_damage(directory):
    shutil.copy(directory / "2/metrics/metrics", directory / "5/metrics/metrics")
    with open_(directory) as checkpointer:
        checkpointer.verify_score(2)
        with pytest.raises(UserError, match=r"checkpoint 5 .*its score, is not what was written"):
            checkpointer.verify_score(5)


def test_a_score_without_its_step_is_read(directory):
    """As 0.2.0 has written it."""
    old = {"score": 0.9, "sha256": leaf_digest(np.float64(0.9))}
    (directory / "5/metrics/metrics").write_text(json.dumps(old))
    with open_(directory) as checkpointer:
        assert checkpointer.step_of("best") == 5
