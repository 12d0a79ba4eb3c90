"""The examples in docstrings give what they say."""

import doctest
import importlib

import pytest

MODULES = (
    "unet_jax.checks",
    "unet_jax.experiment.durations",
    "unet_jax.training.losses.lovasz",
    "unet_jax.training.losses.registry",
    "unet_jax.training.optim.ema",
    "unet_jax.training.optim.schedules",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
