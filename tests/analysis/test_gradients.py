"""Gradient flow: depth from the traced program, norms against a plain gradient, several runs."""

import csv
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

from unet_jax import models
from unet_jax.analysis.certify.check import random_variables
from unet_jax.analysis.gradients import report
from unet_jax.analysis.gradients.compare import compare
from unet_jax.analysis.gradients.depth import depths
from unet_jax.analysis.gradients.flow import Flow, Layer, create_host_gradient, layers
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.experiment.build import build_experiment
from unet_jax.runs import workdir as folder
from unet_jax.runtime import parallel
from unet_jax.training.losses.registry import create_loss
from unet_jax.training.optim.optimizer import create_optimizer
from unet_jax.training.state import TrainState, create_state
from unet_jax.training.step import create_train_step

OFF = {"flip": False, "quarter_turns": False, "brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "noise": 0.0}
AUGMENT = OFF | {"brightness": 0.5}
LOSS = create_loss(weights={"cross_entropy": 1.0, "dice": 0.5}, activation="softmax", num_classes=3)
TX, SCHEDULE = create_optimizer(name="sgd", learning_rate=0.1, num_steps=9, grad_clip=1e-3)
# Step of the run's checkpoint.
LAST = 2


def test_depth_is_the_longest_path_from_the_image():
    """The order of the code does not matter: U-Net++'s x_2_0 runs after x_0_1, but is less deep."""
    assert depths(models.build("unet_pp", num_classes=2, widths=(2, 3, 4), deep_supervision=True), 1) == {
        "x_0_0/conv_0": 1,
        "x_0_0/conv_1": 2,
        "x_1_0/conv_0": 3,
        "x_1_0/conv_1": 4,
        "up_0_1": 5,
        "x_0_1/conv_0": 6,
        "x_0_1/conv_1": 7,
        "head_1": 8,
        "x_2_0/conv_0": 5,
        "x_2_0/conv_1": 6,
        "up_1_1": 7,
        "x_1_1/conv_0": 8,
        "x_1_1/conv_1": 9,
        "up_0_2": 10,
        "x_0_2/conv_0": 11,
        "x_0_2/conv_1": 12,
        "head_2": 13,
    }
    unet = depths(models.build("unet", num_classes=2, widths=(2, 3), padding="valid", upsample="bilinear"), 3)
    assert list(unet.items()) == [
        ("enc_0/conv_0", 1),
        ("enc_0/conv_1", 2),
        ("enc_1/conv_0", 3),
        ("enc_1/conv_1", 4),
        ("up_0", 5),
        ("dec_0/conv_0", 6),
        ("dec_0/conv_1", 7),
        ("head", 8),
    ]
    dense = depths(
        models.build("fc_densenet", num_classes=2, stem_features=4, growth_rate=2, layers_per_block=(2, 1, 1)), 1
    )
    assert dense == {
        "first": 1,
        "down_0_0/conv": 2,
        "down_0_1/conv": 3,
        "transition_down_0/conv": 4,
        "bottleneck_0/conv": 5,
        "transition_up_0": 6,
        "up_0_0/conv": 7,
        "head": 8,
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fcn", {"widths": (2, 2, 2, 2, 2, 2)}),
        ("unet", {"encoder": "resnet34", "widths": (4, 8, 64), "norm": "group"}),
        ("unet_pp", {"encoder": "densenet40", "widths": (4, 8, 448), "dtype": "bfloat16"}),
    ],
)
def test_every_kernel_has_a_depth(name, options):
    module = models.build(name, num_classes=2, **options)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32))
    kernels = {
        name.removesuffix("/kernel") for name in flatten_dict(shapes["params"], sep="/") if name.endswith("kernel")
    }
    by_layer = depths(module, 1)
    assert by_layer.keys() == kernels
    assert list(by_layer.values()) == sorted(by_layer.values())
    assert set(by_layer.values()) == set(range(1, max(by_layer.values()) + 1))


def made(dropout):
    """Returns a small network, a state of step 5, and the batch of 4 that comes next."""
    module = models.build("unet", num_classes=3, widths=(2, 4), dropout=dropout)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(4, 16, 16, 1)).astype(np.float32)
    valid = rng.random((4, 16, 16)) < np.linspace(0.1, 1, 4)[:, None, None]
    batch = {"image": image, "mask": np.digitize(image[..., 0], (-0.5, 0.5)).astype(np.int32), "valid": valid}
    params = random_variables(module, 1, 16)["params"]
    return module, TrainState(np.int32(5), params, {}, TX.init(params)), batch


def test_norms_are_those_of_the_plain_gradient():
    """The plain gradient is that of the whole batch, on one device and without augmentation."""
    module, state, batch = made(dropout=0.0)

    def plain_loss(params):
        return LOSS.from_sums(
            LOSS.sums(module.apply({"params": params}, batch["image"]), batch["mask"], batch["valid"])
        )

    plain_value, plain = jax.jit(jax.value_and_grad(plain_loss))(state.params)
    loss, grads = create_host_gradient(module, LOSS, seed=0, augmentation=OFF)(state, batch)
    assert loss == pytest.approx(float(plain_value), rel=1e-5)
    state.params["dec_0"]["conv_1"]["kernel"][:] = 0
    measured = layers(state.params, grads, depths(module, 1))
    assert [layer.name for layer in measured] == [
        "enc_0/conv_0",
        "enc_0/conv_1",
        "enc_1/conv_0",
        "enc_1/conv_1",
        "up_0",
        "dec_0/conv_0",
        "dec_0/conv_1",
        "head",
    ]
    for layer in measured:
        g, w = (flatten_dict(tree, sep="/")[f"{layer.name}/kernel"] for tree in (plain, state.params))
        norm = math.sqrt(float((np.asarray(g, np.float64) ** 2).sum()))
        assert layer.norm == pytest.approx(norm, rel=1e-4)
        assert layer.rms == pytest.approx(math.sqrt(float(np.mean(np.asarray(g, np.float64) ** 2))), rel=1e-4)
        if layer.name == "dec_0/conv_1":
            assert math.isnan(layer.relative)
        else:
            assert layer.relative == pytest.approx(norm / float(np.linalg.norm(w.ravel())), rel=1e-4)


def test_gradient_is_what_the_step_acts_on_before_clipping():
    """Augmentation and dropout are those of the step, and change the gradient."""
    module, state, batch = made(dropout=0.3)
    devices = jax.local_devices()[:2]
    step = create_train_step(module, LOSS, TX, SCHEDULE, seed=7, augmentation=AUGMENT)
    _, metrics = parallel.pmap_step(step, devices)(parallel.replicate(state, devices), parallel.shard(batch, devices))
    gradient_of = create_host_gradient(module, LOSS, seed=7, augmentation=AUGMENT, devices=devices)
    loss, grads = gradient_of(state, batch)
    assert loss == pytest.approx(float(metrics["loss"]), rel=1e-5)
    assert float(optax.tree.norm(grads)) == pytest.approx(float(metrics["grad_norm"]), rel=1e-4)
    # Far above the clip.
    assert float(metrics["grad_norm"]) > 1e-2
    assert gradient_of(state.replace(step=np.int32(6)), batch)[0] != pytest.approx(loss, rel=1e-3)


@pytest.fixture(scope="module")
def config(cache_dir):
    config = default.get_config()
    config.model.update({"widths": (2, 3), "norm": "none"})
    config.data.update({"patch": (32, 32), "size": (32, 32), "cache_dir": cache_dir})
    config.data.update({"num_train": 4, "num_val": 1, "num_test": 1})
    config.train.update({"batch_size": 4, "num_steps": LAST})
    config.optim.warmup_steps = 0
    return config


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """Writes a run as training does, with a checkpoint of its last step."""
    parts = build_experiment(config)
    workdir = folder.open_workdir(
        tmp_path_factory.mktemp("runs") / "trained", config, parts.dataset, config.train.num_steps
    )
    state = create_state(parts.module, parts.tx, seed=5, patch=(32, 32), channels=1)
    with Checkpointer(workdir / "checkpoints") as checkpointer:
        checkpointer.save(LAST, parallel.to_host(state.replace(step=LAST + 0 * state.step)))
    return Path(workdir)


def test_a_trained_run_and_a_config(run, config, tmp_path, capsys):
    """Both steps of the run need no training; the config was never trained."""
    files = sorted(run.rglob("*"))
    flows = compare([run, str(run)], ["0", "latest"], out=tmp_path / "one")
    assert sorted(run.rglob("*")) == files
    assert [(flow.run, flow.step) for flow in flows] == [("trained", 0), ("trained", LAST)]
    with Image.open(tmp_path / "one/gradients.png") as picture:
        one_panel_less = picture.size[0]
    printed = capsys.readouterr().out
    assert "; 0 steps to train" in printed

    both = compare([run], [0], config=config, config_name="small", out=tmp_path / "two")
    assert [(flow.run, flow.step) for flow in both] == [("trained", 0), ("small", 0)]
    assert both[0] == flows[0]
    # The run's step 0 is that of its config.
    assert both[1].layers == flows[0].layers
    assert flows[1].layers != flows[0].layers
    with (tmp_path / "two/gradients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(flows[0].layers)
    for row, layer in zip(rows, flows[0].layers, strict=False):
        assert (row["run"], row["step"], row["layer"], int(row["depth"])) == ("trained", "0", layer.name, layer.depth)
        assert [float(row[key]) for key in ("norm", "rms", "relative")] == [layer.norm, layer.rms, layer.relative]
    assert [float(rows[place]["depth_fraction"]) for place in (0, 7)] == [0, 1]
    with Image.open(tmp_path / "two/gradients.png") as picture:
        assert 300 < picture.size[0] < one_panel_less
    first, last = flows[0].layers[0], flows[0].layers[-1]
    ratio = first.relative / last.relative
    assert flows[0].first_over_last() == ratio
    line = next(line for line in printed.splitlines() if line.startswith("trained        0"))
    assert line.split()[2:] == [
        "8",
        f"{flows[0].loss:.4f}",
        f"{np.median([layer.relative for layer in flows[0].layers]):.3g}",
        f"{ratio:.3g}",
        f"{first.norm / last.norm:.3g}",
        f"{first.rms / last.rms:.3g}",
    ]


def test_bad_input_comes_before_any_work(run, config, tmp_path):
    for workdirs, steps, options, message in (
        ([], ["0"], {}, "--workdir.*--config"),
        ([run], [], {}, "--steps"),
        ([run, tmp_path], ["0"], {}, "--out"),
        ([run], ["0"], {"config": config}, "--out"),
        ([run], ["0", "3"], {}, r"step 3: --workdir=.*trained.*0 to 2"),
        ([run], ["-1"], {}, r"step -1: --workdir="),
        ([run, tmp_path / "none"], ["0"], {"out": tmp_path}, r"none .*config\.json"),
        ([], ["latest"], {"config": config, "out": tmp_path}, "--config .*latest"),
    ):
        with pytest.raises(UserError, match=message):
            compare(workdirs, steps, **options)


def test_runs_of_one_name_are_distinguished(run, tmp_path, monkeypatch):
    other = tmp_path / "trained"
    other.mkdir()
    for name in ("config.json", "versions.json"):
        (other / name).write_text((run / name).read_text())
    monkeypatch.setattr("unet_jax.analysis.gradients.compare.measure", lambda name, *_: [flow_of(name, (1, 0.5))])
    flows = compare([run, other], ["0"], out=tmp_path / "out")
    assert [flow.run for flow in flows] == [str(run), str(other)]
    assert json.loads((other / "versions.json").read_text())["starts"] == []


def flow_of(run, *measured, step=0):
    rows = [Layer(f"layer_{k}", depth, relative, relative, relative) for k, (depth, relative) in enumerate(measured)]
    return Flow(run, step, 1.0, tuple(rows))


def test_the_line_goes_through_the_geometric_mean_of_a_depth():
    flow = flow_of("a", (1, 1.0), (2, 0.01), (2, 1.0), (3, 0.0), (4, math.nan), (5, 0.5))
    places, values = report.line(flow)
    assert places == [0, 0.25, 1]
    assert values == pytest.approx([1.0, 0.1, 0.5])
    assert flow.first_over_last() == 2
    assert flow.median() == 0.5
    assert math.isnan(flow_of("a", (1, 1.0), (2, 0.0)).first_over_last())
