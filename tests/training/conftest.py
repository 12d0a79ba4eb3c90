"""A small experiment for the tests of the training: nets of widths 4 and 8 on windows of 32 x 32."""

import importlib.util
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def config(cache_dir):
    """`configs/default.py`, made small: 6 steps, each evaluation after 3."""
    spec = importlib.util.spec_from_file_location("default", CONFIGS / "default.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.model.widths = (4, 8)
    config.data.update({"patch": (32, 32), "size": (32, 48), "cache_dir": cache_dir, "cache_bytes": 1 << 24})
    config.data.update({"num_train": 6, "num_val": 3, "num_test": 3})
    config.train.update({"batch_size": 8, "num_steps": 6, "log_every": 3, "eval_every": 3})
    config.eval.update({"batch_size": 4, "num_pictures": 1})
    config.optim.warmup_steps = 2
    return config
