"""The memory of a step, planned and measured."""

import dataclasses
import sys

import pytest

from benchmarks import memory
from unet_jax.configs import default
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.runtime import parallel


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_what_is_planned_is_about_what_is_taken(cache_dir, monkeypatch):
    monkeypatch.setattr(parallel, "CPU_STEP_OPTIONS", {"xla_backend_optimization_level": 0})
    config = default.get_config()
    # No augmentation.
    config.augment = dataclasses.asdict(AugmentOptions())
    config.model.widths = (8, 16)
    config.data.update({"patch": (192, 192), "size": (192, 192), "cache_dir": cache_dir})
    config.data.update({"num_train": 8, "num_val": 1, "num_test": 1})
    planned, measured = memory.measure(config)
    assert 100e6 < planned < 1.1 * measured
    assert measured < 1.6 * planned
