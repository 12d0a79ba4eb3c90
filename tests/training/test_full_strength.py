"""Whole runs with all options of the optimiser at once. A run that is made longer equals one that was long from the start."""

import shutil

import jax
import numpy as np
import pytest

import unet_jax
from unet_jax.analysis.prune import extract
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.experiment.build import build_experiment
from unet_jax.runs import loop, score
from unet_jax.runs.load import _check_weights, open_run
from unet_jax.tracking.metrics_file import read_metrics

pytestmark = pytest.mark.usefixtures("shared_steps")


@pytest.fixture
def full(config):
    """Four steps of 8 images in two micro-batches, an evaluation after each step; only the first score counts as a gain."""
    config.model.update({"widths": (2, 4), "remat": (0,)})
    config.train.update({"batch_size": 8, "num_steps": 0, "num_examples": 32, "log_every": 1})
    config.train.update({"eval_every": 0, "eval_every_examples": 8})
    config.optim.update({"schedule": "plateau", "plateau_patience": 1, "plateau_gain": 0.999, "lr_drop_factor": 0.5})
    config.optim.update({"warmup_steps": 0, "warmup_examples": 8, "accumulate": 2, "ema_decay": 0.5})
    config.optim.update({"freeze": ("x_0_0/*",), "lr_multipliers": (("head_*", 0.5),)})
    config.eval.weights = "ema"
    config.checkpoint.latest = 4
    return config


def restore(experiment, workdir, *steps):
    like = jax.eval_shape(experiment.create_state)
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        return [checkpointer.restore(step, like) for step in steps]


def test_a_run_made_longer(full, tmp_path, capsys):
    loop.train_and_evaluate(full, tmp_path / "long")
    assert "32 examples are 4 steps of 8" in capsys.readouterr().out
    full.train.num_examples = 16
    loop.train_and_evaluate(full, tmp_path / "short")
    full.train.num_examples = 32
    loop.train_and_evaluate(full, tmp_path / "short")
    experiment = build_experiment(full)
    initial, states = experiment.create_state(), restore(experiment, tmp_path / "long", 1, 2, 3, 4)
    long = states[-1]
    jax.tree.map(np.testing.assert_array_equal, long, *restore(experiment, tmp_path / "short", 4))

    jax.tree.map(np.testing.assert_array_equal, long.params["x_0_0"], initial.params["x_0_0"])
    assert np.abs(long.params["head_1"]["kernel"] - initial.params["head_1"]["kernel"]).max() > 0
    kernels = np.stack([state.params["x_1_0"]["conv_0"]["kernel"] for state in states])
    expected = np.tensordot(0.5 ** np.array([3, 2, 1, 0]) / 1.875, kernels, 1)
    np.testing.assert_allclose(long.ema["params"]["x_1_0"]["conv_0"]["kernel"], expected, rtol=1e-4, atol=1e-6)

    rows = [row for row in read_metrics(tmp_path / "short/metrics.jsonl") if row["split"] != "run"]
    assert [row["split"] for row in rows] == ["train", "val", "val_raw"] * 4
    rates = [row["learning_rate"] for row in rows if row["split"] == "train"]
    np.testing.assert_allclose(rates, np.array([0.5, 1, 0.5, 0.25]) * full.optim.learning_rate, rtol=1e-5)

    step, image = open_run(tmp_path / "long").step, np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
    state = states[step - 1]
    for weights, variables in (("", state.ema), ("ema", state.ema), ("raw", state.variables)):
        loaded = unet_jax.load(tmp_path / "long", weights=weights)
        jax.tree.map(np.testing.assert_array_equal, dict(loaded.variables), dict(variables))
        assert loaded.predict(image)[0].shape == (32, 32, 2)
    val = {row["split"]: row["iou_pooled/mean"] for row in rows if row["step"] == step and row["split"] != "train"}
    scores = {kind: score.score_run(tmp_path / "long", split="val", weights=kind) for kind in ("ema", "raw")}
    assert scores["ema"]["iou_pooled/mean"] == pytest.approx(val["val"], abs=1e-6)
    assert scores["raw"]["iou_pooled/mean"] == pytest.approx(val["val_raw"], abs=1e-6)
    assert (tmp_path / "long/eval/val-raw.json").exists()

    extract.write(tmp_path / "long", tmp_path / "small", level=1, mode="accurate", step=step, score=0.5)
    jax.tree.map(np.testing.assert_array_equal, dict(unet_jax.load(tmp_path / "small").variables), dict(state.ema))

    full.train.num_examples = 16
    with pytest.raises(UserError, match=r"step 4, .* 2 "):
        loop.train_and_evaluate(full, tmp_path / "short")
    full.train.update({"num_examples": 32, "init_from": str(tmp_path / "long")})
    shutil.rmtree(tmp_path / "short")
    started = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.parallel, "replicate", lambda state, devices: started.append(state) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            loop.train_and_evaluate(full, tmp_path / "short")
    # The other run is used with its average.
    jax.tree.map(np.testing.assert_array_equal, started[0].params, state.ema["params"])
    jax.tree.map(np.testing.assert_array_equal, started[0].ema["params"], state.ema["params"])


def test_without_these_options_the_state_has_no_more_parts(config):
    experiment = build_experiment(config)
    assert experiment.plateau is None
    state = jax.eval_shape(experiment.create_state)
    names = {path[0].name for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]}
    assert names == {"step", "params", "batch_stats", "opt_state"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optim.accumulate": 3}, ["train.batch_size 8", "optim.accumulate 3"]),
        ({"optim.accumulate": 4}, ["optim.accumulate 4", "batch 2", "4 devices"]),
        ({"optim.accumulate": 0}, ["optim.accumulate 0"]),
        ({"optim.freeze": ("encoder/*",)}, ["optim.freeze", "'encoder/*'", "head_1/*, "]),
        ({"optim.ema_decay": 0.0}, ["eval.weights 'ema'", "optim.ema_decay"]),
        ({"eval.weights": "both"}, ["eval.weights 'both'", "raw, ema"]),
        ({"optim.plateau_patience": 0}, ["optim.plateau_patience 0"]),
        ({"train.num_steps": 4}, ["train.num_steps=4", "train.num_examples=32"]),
        ({"optim.schedule": "zigzag"}, ["optim.schedule 'zigzag'"]),
        ({"model.remat": (2,)}, ["model.remat (2,)", "at most 1"]),
    ],
)
def test_bad_values_are_named_before_the_workdir_is_made(full, tmp_path, changes, named):
    full.update_from_flattened_dict(changes)
    with pytest.raises(UserError) as caught:
        loop.train_and_evaluate(full, tmp_path / "run")
    for text in named:
        assert text in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_without_an_average_is_loaded_with_none(config):
    with pytest.raises(UserError, match=r"weights 'ema'.*optim\.ema_decay"):
        _check_weights("ema", config)
    with pytest.raises(UserError, match=r"weights 'both'.*raw, ema"):
        _check_weights("both", config)
