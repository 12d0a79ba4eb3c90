"""A replayed run: its states are those of the run, bit by bit, and the data and weights that it needs must be unchanged."""

import json
import shutil

import jax
import numpy as np
import pytest

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.data.loading import train_pipeline
from unet_jax.errors import UserError
from unet_jax.runs import replay, workdir
from unet_jax.runs.replay import Replay


@pytest.fixture
def run(trained, tmp_path):
    """Copies the run of 6 steps, with checkpoints of 3 and 6, for a test to change."""
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run"


def change(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.slow
def test_states_are_those_of_the_run_bit_by_bit(run, trained):
    """From step 0 to the checkpoint of step 3, and from there, restored or not, to that of step 6."""
    saved = {step: Replay.of_run(trained[0])._state(step) for step in (3, 6)}
    shutil.rmtree(run / "checkpoints/6")
    left = Replay.of_run(run)
    assert left.saved == [0, 3]
    (_, resumed, _), *others = left.states([6])
    assert not others
    left.saved = [0]
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    gone_through = {step: (state, batch) for step, state, batch in left.states([6, 3, 3])}
    assert list(gone_through) == [3, 6]
    for state, step in ((resumed, 6), (gone_through[3][0], 3), (gone_through[6][0], 6)):
        assert jax.tree.structure(state) == jax.tree.structure(saved[step])
        assert state.step == step
        jax.tree.map(np.testing.assert_array_equal, state, saved[step])
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == files
    parts = left.parts
    batches = train_pipeline.train_batches(parts.dataset.source("train"), batch_size=4, seed=0, **parts.loading_options)
    expected = [next(batches) for _ in range(7)]
    for step, (_, batch) in gone_through.items():
        jax.tree.map(np.testing.assert_array_equal, batch, expected[step])


def test_what_is_saved_is_not_trained_for(config):
    untrained = Replay(config, "--config")
    assert untrained.legs([4, 0, 2]) == [(0, 0), (0, 2), (2, 4)]
    untrained.saved = [0, 3, 6]
    assert untrained.legs([1, 2, 3, 5, 6]) == [(0, 1), (1, 2), (3, 3), (3, 5), (6, 6)]


def test_steps_by_name_and_number(trained, config):
    run = Replay.of_run(trained[0])
    with Checkpointer(trained[0] / "checkpoints", read_only=True) as checkpointer:
        best = checkpointer.best_step()
    assert [run.step_of(which) for which in ("0", 5, "latest", "best")] == [0, 5, 6, best]
    for which in ("7", "-1", -1, "1.5", "", "²", "9" * 5000, "first"):
        with pytest.raises(UserError, match=f"step {which}: .*--workdir=.* 0 to 6"):
            run.step_of(which)
    with pytest.raises(UserError, match=r"--config .*\bbest\b"):
        Replay(config, "--config").step_of("best")


def test_other_data_are_refused(run):
    change(run / "versions.json", lambda content: content["data"].update(fingerprint="0" * 64))
    with pytest.raises(UserError, match=r"--workdir=.*fingerprint 000000000000"):
        Replay.of_run(run)


def test_another_start_is_refused(run, trained):
    """The run started from the best checkpoint of another run, which now has another best checkpoint."""
    change(run / "config.json", lambda content: content["train"].update(init_from=str(trained[0])))
    origin = {"workdir": str(trained[0]), "step": 1}
    change(run / "versions.json", lambda content: content["starts"][0].update(init_from=origin))
    began = Replay.of_run(run)
    with pytest.raises(UserError, match=r"init_from .*'step': 1.*\(3, 6\)"):
        next(began.states([0]))
    assert next(began.states([3]))[0] == 3
    with Checkpointer(trained[0] / "checkpoints", read_only=True) as checkpointer:
        origin["step"] = checkpointer.best_step()
    change(run / "versions.json", lambda content: content["starts"][0].update(init_from=origin))
    _, state, _ = next(Replay.of_run(run).states([0]))
    best = Replay.of_run(trained[0])._state(origin["step"])
    jax.tree.map(np.testing.assert_array_equal, state.params, best.params)


def test_a_run_that_broke_is_told(config, monkeypatch):
    """NaN or infinity, at the step after which the run itself stopped."""
    finite = iter([True, False])
    p_step = lambda state, batch: (state, {"finite": np.bool_(next(finite))})  # noqa: E731
    monkeypatch.setattr(Replay, "_compile", lambda *_: p_step)
    with pytest.raises(UserError, match=r"--config.*step 2\b"):
        list(Replay(config, "--config").states([4]))


def test_folders_that_are_no_run_are_refused(run, tmp_path):
    for spoil, message in (
        (
            lambda: change(run / "versions.json", lambda content: content.update({workdir.PRUNED: {}})),
            r"--workdir=.*pruned",
        ),
        (lambda: (run / "config.json").write_text("{"), r"config\.json .*\(.*line 1.*\)"),
        (lambda: (run / "config.json").unlink(), r"--workdir=.*config\.json"),
    ):
        spoil()
        with pytest.raises(UserError, match=message):
            replay.Replay.of_run(run)
