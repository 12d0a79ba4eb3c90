"""The gradient of each layer: of the right state, batch and loss, in the order of the layers."""

import csv
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

from configs import default
from unet_jax import models
from unet_jax.analysis import gradients
from unet_jax.errors import UserError
from unet_jax.training import loop
from unet_jax.training.checkpoint import Checkpointer


@pytest.fixture(scope="module")
def run(cache_dir, tmp_path_factory):
    """The workdir of a run of 3 steps, each of them saved; plain gradient descent, so that its updates are the gradient."""
    config = default.get_config()
    config.model.update({"widths": (2, 3), "norm": "group"})
    config.data.update({"patch": (16, 16), "size": (32, 32), "cache_dir": cache_dir})
    config.data.update({"num_train": 6, "num_val": 2, "num_test": 2})
    config.train.update({"batch_size": 4, "num_steps": 3, "log_every": 2, "eval_every": 3})
    config.eval.num_pictures = 1
    config.optim.update(
        {"name": "sgd", "learning_rate": 0.5, "momentum": 0.0, "schedule": "constant", "warmup_steps": 0}
    )
    config.optim.update({"weight_decay": 0.0, "grad_clip": 1e-3})
    config.checkpoint.update({"every": 1, "latest": 3})
    workdir = tmp_path_factory.mktemp("run")
    loop.train_and_evaluate(config, workdir)
    return workdir


def saved(run, step, like):
    with Checkpointer(run / "checkpoints", read_only=True) as checkpointer:
        return checkpointer.restore(step, like)


def test_a_state_between_checkpoints_is_that_of_the_run(run, monkeypatch):
    replay = gradients.Replay(run)
    assert replay.saved == [1, 2, 3]
    replay.saved = [1]  # as if the others had been deleted
    trained = replay.state(3)
    for a, b in zip(jax.tree.leaves(trained), jax.tree.leaves(saved(run, 3, trained)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_gradient_is_that_of_the_runs_next_step_before_clipping(run):
    replay = gradients.Replay(run)
    gradient = replay.gradient(2)
    norm = float(optax.tree.norm(gradient))
    assert norm > 1e-3  # so that the run clipped it
    before = replay.state(2).params
    after = saved(run, 3, replay.state(3)).params
    expected = jax.tree.map(lambda p, g: p - 0.5 * g * 1e-3 / norm, before, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after, expected)
    metrics = [row for row in loop.read_metrics(run / "metrics.jsonl") if row["split"] == "train" and row["step"] == 3]
    assert metrics[0]["grad_norm"] == pytest.approx(norm, rel=1e-5)


def test_flows_are_norms_in_the_order_of_the_layers(run):
    replay = gradients.Replay(run)
    found = list(gradients.flows(replay, "a", "latest"))
    assert [flow.layer for flow in found][:2] == ["x_0_0/conv_0", "x_0_0/conv_1"]
    assert (found[0].depth, found[-1].depth, found[0].step) == (0.0, 1.0, 3)
    kernel = flatten_dict(replay.gradient(3), sep="/")["x_0_0/conv_0/kernel"]
    assert found[0].norm == pytest.approx(np.linalg.norm(kernel.ravel()), rel=1e-6)
    assert found[0].rms == pytest.approx(np.sqrt(np.mean(kernel**2)), rel=1e-6)


def test_order_of_the_layers():
    def names(name, **knobs):
        module = models.build(name, num_classes=2, **knobs)
        return gradients.kernels(module, jax.ShapeDtypeStruct((1, 32, 32, 1), "float32"))

    grid = names("unet", widths=(2, 3))
    assert [name.split("/")[0] for name in grid] == [
        "enc_0",
        "enc_0",
        "enc_1",
        "enc_1",
        "up_0",
        "dec_0",
        "dec_0",
        "head",
    ]
    assert names("fcn", widths=(2,) * 6)[-4:] == [
        "fc_7/kernel",
        "score_fr/kernel",
        "score_pool4/kernel",
        "score_pool3/kernel",
    ]
    assert names("fc_densenet", first=2, growth=2, layers=(1, 1, 1))[:3] == [
        "first/kernel",
        "down_0_0/conv/kernel",
        "transition_down_0/conv/kernel",
    ]


@pytest.mark.parametrize("asked", ["4", "-1", "soon", "1.5"])
def test_steps_that_the_run_does_not_have(run, asked):
    with pytest.raises(UserError, match=r"is no step of .*; give latest, or whole numbers from 0 to 3"):
        gradients.step_of(asked, gradients.Replay(run))


def test_the_program(run, tmp_path, capsys, monkeypatch):
    values = SimpleNamespace(workdir=[str(run)], steps=["latest", "0"], out=str(tmp_path / "out"))
    monkeypatch.setattr(gradients, "flags", SimpleNamespace(FLAGS=values))
    before = sorted(run.rglob("*"))
    gradients.main()
    assert sorted(run.rglob("*")) == before
    with (tmp_path / "out" / "gradients.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(dict.fromkeys((line["asked"], line["step"]) for line in lines)) == [("0", "0"), ("latest", "3")]
    with Image.open(tmp_path / "out" / "gradients.png") as image:
        assert image.width > 500
    norms = [float(line["norm"]) for line in lines if line["step"] == "0"]
    assert f"{norms[0] / norms[-1]:.3f}" in capsys.readouterr().out
    values.workdir *= 2
    with pytest.raises(UserError, match="two runs are called"):
        gradients.main()
    values.workdir = [str(tmp_path)]
    with pytest.raises(UserError, match="no run is there"):
        gradients.main()
