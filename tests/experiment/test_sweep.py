"""Points of a sweep: read from a config, applied to it, each with a folder."""

import os
import re
import subprocess
import sys

import pytest

from unet_jax.configs import default, electrodes_sweep
from unet_jax.errors import UserError
from unet_jax.experiment import sweep
from unet_jax.experiment.build import build_experiment, create_dataset
from unet_jax.models import registry


def test_a_point_changes_its_keys_alone():
    points = sweep.read_sweep("configs/electrodes_sweep.py")
    assert points == electrodes_sweep.get_sweep()
    config, plain = default.get_config(), default.get_config()
    sweep.apply_point(config, sweep.choose_point(points, 4), given={"train.num_steps": "--config.train.num_steps"})
    assert (config.seed, config.model.deep_supervision) == (1, False)
    config.update({"seed": 0, "model": {"deep_supervision": True}})
    assert config.to_dict() == plain.to_dict()


def test_no_two_points_have_the_same_folder():
    points = electrodes_sweep.get_sweep()
    names = [sweep.point_name(index, point) for index, point in enumerate(points)]
    assert len(set(names)) == len(points)
    assert names[1] == "1-unet_pp-deep_supervisionTrue-seed1"
    assert "/" not in sweep.point_name(0, {"data.root": "../a b"})
    assert sweep.point_name(2, {"model": default.unet(), "seed": 1}) == "2-unet-seed1"
    # No file system takes a name of more than 255 bytes.
    assert sweep.point_name(2, {"data.root": "细" * 200}) == f"2-{'细' * 32}"


def test_a_point_exchanges_whole_sections():
    """A key within a section is set after it, whatever their order in the point. The section given stays unchanged."""
    network, recipe = default.fcn(), default.augment_nnunet()
    point = {"model.stride": 16, "model": network, "augment": recipe, "augment.probability.noise": 0.5}
    assert sweep.describe_point(point) == "model.stride=16, model=fcn, augment=augment, augment.probability.noise=0.5"
    config = default.get_config()
    sweep.apply_point(
        config, point, given={"train.num_steps": "--config.train.num_steps", "modelled": "--config.modelled"}
    )
    assert config.model.to_dict() == {**default.fcn().to_dict(), "stride": 16}
    assert (config.augment.rotate, config.augment.probability.noise) == (180.0, 0.5)
    assert (network, recipe) == (default.fcn(), default.augment_nnunet())


@pytest.mark.parametrize("name", registry.MODELS)
def test_a_sweep_over_networks(name, cache_dir):
    """Each network, in place of the default's, makes an experiment."""
    config = default.get_config()
    small = {"data.size": (32, 32), "data.num_train": 4, "data.num_val": 2, "data.num_test": 2}
    sweep.apply_point(config, {"model": default.NETWORKS[name](), **small, "data.cache_dir": cache_dir, "seed": 1})
    module = build_experiment(config, dataset=create_dataset(config)).module
    assert type(module) is registry.MODELS[name]


GIVEN = {key: f"--config.{key}" for key in ("seed", "eval.classes", "checkpoint")}


@pytest.mark.parametrize(
    ("point", "named"),
    [
        ({"seed": 1}, ["--config.seed", "sets seed"]),
        ({"eval": default.get_config().eval}, ["--config.eval.classes", "sets eval"]),
        ({"checkpoint.every": 3}, ["--config.checkpoint ", "sets checkpoint.every"]),
        ({"optim": 3}, ["optim='3'", "optim is a section"]),
        ({"optim.name": default.unet()}, ["optim.name='unet'", "optim.name is one value"]),
        ({"loss.weights": {"dice": 1.0}}, ["loss.weights='weights'", "dice; give bce_dice, "]),
        ({"model": {}}, ["model='model'", "activation, dtype, name"]),
        ({"data": {"name": "x"}}, ["data='x'", "cache_bytes, cache_dir"]),
        ({"optim": {**default.get_config().optim, "learning_rate": "x"}}, ["optim='adamw'", "learning_rate"]),
        ({"augment": {**default.augment(), "probability": {}}}, ["augment='augment'", "augment.probability"]),
        ({"model.nam": "x"}, ["model.nam='x'", "config.model has no key nam", "it has: activation, "]),
        ({"modell.name": "x"}, ["modell.name='x'", "config has no key modell", "it has: augment, "]),
        ({"train.num_steps.x": 3}, ["config.train.num_steps has no key x"]),
        ({"train.num_steps": "many"}, ["train.num_steps='many'", "a whole number"]),
        ({"optim.nesterov": "x"}, ["optim.nesterov='x'", "True or False"]),
        ({"model.widths": 8}, ["model.widths='8'", "a tuple"]),
    ],
)
def test_what_does_not_fit_is_named(point, named):
    with pytest.raises(UserError) as caught:
        sweep.apply_point(default.get_config(), point, given=GIVEN)
    for text in named:
        assert text in str(caught.value)


def test_a_config_that_is_no_sweep(tmp_path):
    with pytest.raises(UserError, match=r"--sweep_index: configs/default\.py .*get_sweep\(\)"):
        sweep.read_sweep("configs/default.py")
    path = tmp_path / "config.py"
    for points in ("[]", "[{3: 4}]", "{}"):
        path.write_text(f"def get_sweep():\n    return {points}\n")
        with pytest.raises(UserError, match=f"config.py: get_sweep.*{re.escape(points)}"):
            sweep.read_sweep(path)


def test_a_sweep_needs_an_index(tmp_path):
    with pytest.raises(UserError, match=r"--sweep_index .*electrodes_sweep\.py.* 9 points.* 0 to 8"):
        sweep.check_no_sweep("electrodes_sweep:unet")
    sweep.check_no_sweep("default")
    path = tmp_path / "config.py"
    path.write_text("# Has no get_sweep().\n")
    sweep.check_no_sweep(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--config=electrodes_sweep"], ["--sweep_index", "0 to 8"]),
        (["--config=configs/electrodes_sweep.py", "--sweep_index=9"], ["--sweep_index=9", "0 to 8"]),
        (["--config=configs/electrodes_sweep.py", "--sweep_index=0", "--config.seed=3"], ["--config.seed", "sweep"]),
        (["--config=electrodes_sweep", "--sweep_index=0", "--config.model=unet"], ["--config.model is given", "sweep"]),
    ],
)
def test_the_program_prints_an_error_in_one_line(arguments, named, tmp_path):
    command = [sys.executable, "run_train.py", *arguments, f"--workdir={tmp_path / 'sweep'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    for text in named:
        assert text in done.stderr
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_the_program_runs_a_point_into_its_folder(tmp_path, cache_dir):
    small = ["model.widths=(2, 3)", "data.patch=(16, 16)", "data.size=(32, 32)", f"data.cache_dir={cache_dir}"]
    small += ["data.num_train=4", "data.num_val=2", "data.num_test=2", "train.batch_size=4", "train.num_steps=1"]
    flags = [f"--config.{key}" for key in [*small, "optim.warmup_steps=0", "eval.num_pictures=1", "eval.batch_size=4"]]
    command = [sys.executable, "run_train.py", "--config=configs/electrodes_sweep.py", "--sweep_index=5", *flags]
    quick = os.environ
    subprocess.run([*command, f"--workdir={tmp_path}"], timeout=300, check=True, capture_output=True, env=quick)
    run = tmp_path / "5-unet_pp-deep_supervisionFalse-seed2"
    assert (run / "eval" / "test.json").exists()
