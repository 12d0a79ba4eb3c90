"""`train.init_from`: parameters taken by name, parameters kept, runs refused; and FCN in stages, as its authors train it."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import unet_jax
from unet_jax import models
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.runs import loop
from unet_jax.runs.load import open_run
from unet_jax.runs.warm_start import initialize_from
from unet_jax.training.state import TrainState

TX = optax.adam(1e-3)


def make_state(*, seed=0, width=4, modules=("enc_0", "enc_1")):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    params = {name: {"conv": {"kernel": draw(width, width), "bias": draw(width)}} for name in modules}
    stats = {name: {"norm": {"mean": draw(width)}} for name in modules}
    return TrainState(step=jnp.int32(0), params=params, batch_stats=stats, opt_state=TX.init(params))


@pytest.fixture
def run(tmp_path):
    """Writes a workdir of three checkpoints, the best of step 2."""
    with Checkpointer(tmp_path / "run/checkpoints") as checkpointer:
        for step, score in ((1, 0.3), (2, 0.6), (3, 0.5)):
            checkpointer.save(step, jax.tree.map(np.asarray, make_state(seed=step)), score)
    return tmp_path / "run"


def test_what_is_there_by_name_comes_from_the_best_checkpoint(run, capsys):
    """Statistics are taken too. What the other run lacks stays and is named; its other modules are left out."""
    fresh, best = make_state(seed=9, modules=("enc_1", "head")), make_state(seed=2)
    state, origin = initialize_from(fresh, TX, str(run))
    assert origin == {"workdir": str(run), "step": 2}
    for ours, theirs, initial in (
        (state.params, best.params, fresh.params),
        (state.batch_stats, best.batch_stats, fresh.batch_stats),
    ):
        assert set(ours) == {"enc_1", "head"}
        jax.tree.map(np.testing.assert_array_equal, ours["enc_1"], theirs["enc_1"])
        jax.tree.map(np.testing.assert_array_equal, ours["head"], initial["head"])
    assert state.step == 0
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
    said = capsys.readouterr().out
    assert re.search(r"step 2 of .*: all but batch_stats/head/norm/mean, head/conv/bias, head/conv/kernel, which", said)
    initialize_from(make_state(), TX, str(run))
    assert "every parameter" in capsys.readouterr().out


def test_another_shape_is_refused_with_both(run):
    with pytest.raises(UserError, match=r"enc_0/\S+ .*float32\[4\].*float32\[6\].*config\.model"):
        initialize_from(make_state(width=6), TX, str(run))


def test_nothing_in_common_is_refused(run):
    modules = [f"x_{i}_0" for i in range(5)]
    with pytest.raises(UserError, match=r"train\.init_from=.*\(enc_0, enc_1 there, x_0_0, .*, \.\.\. here\)"):
        initialize_from(make_state(modules=modules), TX, str(run))


def test_what_is_no_run_or_has_no_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match=r"train\.init_from=.*/nowhere "):
        initialize_from(make_state(), TX, str(tmp_path / "nowhere"))
    (tmp_path / "new/checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match=r"/new/checkpoints"):
        initialize_from(make_state(), TX, str(tmp_path / "new"))


def test_fcn_in_stages(config, tmp_path, capsys):
    """Stride 16 from a run of stride 32, with steps too small to change anything: the end equals the start."""
    config.model = default.fcn()
    config.model.update({"stride": 16, "widths": (2, 2, 2, 2, 2, 3)})
    config.train.update({"num_steps": 2, "eval_every": 2, "init_from": str(tmp_path / "32")})
    config.optim.update({"warmup_steps": 0, "learning_rate": 1e-12})
    module = models.build(num_classes=3, **config.model.to_dict() | {"stride": 32})
    like = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32))
    rng = np.random.default_rng(0)
    before = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), like["params"])
    with Checkpointer(tmp_path / "32/checkpoints") as checkpointer:
        checkpointer.save(7, {"params": before, "batch_stats": {}}, 0.5)
    loop.train_and_evaluate(config, tmp_path / "16")
    assert re.search(r"all but score_pool4/bias, score_pool4/kernel, which stay as init", capsys.readouterr().out)
    after = dict(open_run(tmp_path / "16").predictor.variables["params"])
    # Scores start at zero.
    assert not np.any(np.abs(after.pop("score_pool4")["kernel"]) > 1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), after, before)
    (start,) = json.loads((tmp_path / "16/versions.json").read_text())["starts"]
    assert start["init_from"] == {"workdir": str(tmp_path / "32"), "step": 7}

    # A run that has a checkpoint does not read the other run again.
    shutil.rmtree(tmp_path / "32")
    loop.train_and_evaluate(config, tmp_path / "16")
    masks, _ = unet_jax.load(tmp_path / "16").predict(np.zeros((45, 30), np.uint8))
    assert masks.shape == (45, 30, 2)
