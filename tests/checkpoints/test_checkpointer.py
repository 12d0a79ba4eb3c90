"""Checkpoints: which are kept, restoring a part, and detecting and naming damage."""

import jax
import numpy as np
import optax
import pytest

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
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
        with pytest.raises(UserError, match=r"checkpoint '3' .*: best, latest, 2, 4, 5$"):
            checkpointer.step_of("3")


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
