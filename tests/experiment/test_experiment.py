"""What the parts of an experiment are told by the config's loss, and which settings contradict each other."""

import contextlib
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.data.loading.class_weights import class_weights
from unet_jax.errors import UserError
from unet_jax.experiment import build
from unet_jax.experiment.build import build_experiment, create_dataset
from unet_jax.training.losses.registry import create_loss


def test_class_weights_by_a_rule_reach_the_loss(config):
    config.loss.class_weighting = "median"
    parts = build_experiment(config)
    assert parts.class_weights == class_weights(parts.dataset, "median", config.data.cache_dir)
    logits = np.random.default_rng(0).normal(size=(1, 4, 5, 3)).astype(np.float32)
    batch = ((jnp.asarray(logits),) * 2, np.arange(20).reshape(1, 4, 5) % 3, np.ones((1, 4, 5), bool))
    same = create_loss(
        weights={"cross_entropy": 1.0, "dice": 1.0},
        activation="softmax",
        num_classes=3,
        class_weights=parts.class_weights,
    )
    assert parts.loss.from_sums(parts.loss.sums(*batch)) == same.from_sums(same.sums(*batch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_weights": (1.0, 2.0, 3.0), "class_weighting": "median"}, "are both set; set one of them"),
        ({"class_weighting": "mean"}, "loss.class_weighting 'mean' is unknown"),
        ({"weights": {"weighted_cross_entropy": 1.0}}, "weighted_cross_entropy is 1.0 and data.weight_map is False"),
    ],
)
def test_what_contradicts_itself_is_refused(config, change, message):
    config.loss.update(change)
    with pytest.raises(UserError, match=message):
        build_experiment(config)


def test_a_map_of_weights_that_no_loss_reads_is_refused(config):
    config.data.weight_map = True
    with pytest.raises(
        UserError, match=r"weighted_cross_entropy is 0.0 and data.weight_map is True.*set both or neither"
    ):
        build_experiment(config)


@pytest.mark.parametrize(("ids", "told"), [((0, 0), True), ((0, 255), True), ((0, 2), False)])
def test_windows_of_the_foreground_need_some(config, ids, told):
    """In one image of the two is enough; void is none."""
    config.data.foreground_fraction = 0.5
    whole = create_dataset(config)
    examples = [whole.source("train")[0] | {"mask": np.full((32, 32), id_, np.uint8)} for id_ in ids]
    dataset = dataclasses.replace(whole, sources=whole.sources | {"train": examples})
    refused = pytest.raises(
        UserError, match=r"data.foreground_fraction: none of the 2 training images shows another class"
    )
    with refused if told else contextlib.nullcontext():
        build_experiment(config, dataset=dataset)


def test_one_channel_has_nothing_to_weigh(config):
    config.loss.class_weighting = "inverse"
    with pytest.raises(UserError, match="one output channel"):
        build._class_weights(config, dataset=None, num_channels=1)
