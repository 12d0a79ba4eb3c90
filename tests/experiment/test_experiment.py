"""The parts of an experiment: the options that each gets from the config, and errors of a config."""

import contextlib
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.data.loading.class_weights import class_weights
from unet_jax.errors import UserError
from unet_jax.experiment import build
from unet_jax.experiment.build import build_experiment, create_dataset
from unet_jax.experiment.sections import read_sections
from unet_jax.training.losses.registry import create_loss


def test_class_weights_by_a_rule_reach_the_loss(config):
    config.loss.class_weighting = "median"
    experiment = build_experiment(config)
    assert experiment.class_weights == class_weights(experiment.dataset, "median", config.data.cache_dir)
    logits = np.random.default_rng(0).normal(size=(1, 4, 5, 3)).astype(np.float32)
    batch = ((jnp.asarray(logits),) * 2, np.arange(20).reshape(1, 4, 5) % 3, np.ones((1, 4, 5), bool))
    same = create_loss(
        weights={"cross_entropy": 1.0, "dice": 1.0},
        activation="softmax",
        num_classes=3,
        class_weights=experiment.class_weights,
    )
    assert experiment.loss.from_sums(experiment.loss.sums(*batch)) == same.from_sums(same.sums(*batch))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss.class_weighting", "mean"),
        ("eval.weights", "ema"),
        ("data.weight_map", True),
        ("train.batch_size", 5),
        ("model.widths", (0, 3)),
    ],
)
def test_bad_values_are_named_before_there_are_data(config, key, value, monkeypatch):
    """Errors that need no data; test_sections.py tests each value."""
    monkeypatch.setattr(build, "load_dataset", lambda **_: pytest.fail("the data were prepared"))
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError) as caught:
        build_experiment(config)
    assert key.rpartition(".")[2] in str(caught.value)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(("ids", "is_error"), [((0, 0), True), ((0, 255), True), ((0, 2), False)])
def test_windows_of_the_foreground_need_some(config, ids, is_error):
    """Foreground in one of two images is enough; void is not foreground."""
    config.data.foreground_fraction = 0.5
    whole = create_dataset(config)
    examples = [whole.source("train")[0] | {"mask": np.full((32, 32), id_, np.uint8)} for id_ in ids]
    dataset = dataclasses.replace(whole, sources=whole.sources | {"train": examples})
    expectation = pytest.raises(UserError, match=r"data\.foreground_fraction: .* 2 ")
    with expectation if is_error else contextlib.nullcontext():
        build_experiment(config, dataset=dataset)


def test_one_channel_has_nothing_to_weigh(config):
    config.loss.class_weighting = "inverse"
    with pytest.raises(UserError, match=r"loss\.class_weighting 'inverse'"):
        build._class_weights(read_sections(config), dataset=None, num_channels=1)


def test_an_experiment_holds_the_options_of_step_and_loading(config):
    config.seed = 3
    config.optim.update({"accumulate": 1, "ema_decay": 0.5, "freeze": ("x_0_0/*",)})
    config.data.foreground_fraction = 0.5
    experiment = build_experiment(config)
    assert experiment.sections == read_sections(config)
    augmentation = dict(experiment.step_options["augmentation"])
    assert augmentation == config.augment.to_dict()
    assert experiment.step_options == {
        "seed": 3,
        "augmentation": augmentation,
        "accumulate": 1,
        "ema_decay": 0.5,
        "freeze": ("x_0_0/*",),
    }
    assert experiment.loading_options == {
        "patch": (32, 32),
        "normalize": "image",
        "value_range": (),
        "foreground_fraction": 0.5,
        "num_threads": config.data.num_threads,
        "cache_bytes": config.data.cache_bytes,
        "margin": 0,
    }


def test_a_range_is_two_values_and_goes_with_its_normalisation(config):
    config.data.range = (-5.0, 5.0)
    with pytest.raises(UserError, match=r"data\.range=\(-5\.0, 5\.0\): data\.normalize is 'image'"):
        read_sections(config)
    config.data.normalize = "range"
    assert read_sections(config).loading.options["value_range"] == (-5, 5)
    config.data.range = (5.0, 5.0)
    with pytest.raises(UserError, match=r"data\.range.*the smaller first"):
        read_sections(config)
    # Floats have no largest value.
    config.data.range = ()
    floats = dataclasses.replace(create_dataset(config), dtype="float32")
    with pytest.raises(UserError, match=r"are floats.*data\.range"):
        build_experiment(config, dataset=floats)
