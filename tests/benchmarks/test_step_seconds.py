"""The seconds a step of several networks, in turn."""

import dataclasses

import pytest

from benchmarks import step_seconds
from unet_jax.configs import default
from unet_jax.data.augment.options import AugmentOptions


@pytest.mark.usefixtures("quick_compile")
def test_step_seconds_of_two_networks(cache_dir, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr(step_seconds.time, "perf_counter", lambda: next(seconds) ** 2)  # each step longer than the last
    configs = {"one": default.get_config(), "two": default.get_config()}
    for config, widths in zip(configs.values(), ((4, 8, 8), (4, 8)), strict=True):
        config.model = default.unet()
        config.model.widths = widths
        config.augment = dataclasses.asdict(AugmentOptions())  # all off
        config.data.update({"patch": (32, 32), "size": (32, 32), "cache_dir": cache_dir})
        config.data.update({"num_train": 6, "num_val": 3, "num_test": 3})
    found = step_seconds.measure(configs, num_turns=2)
    assert found["one"]["parameters"] > found["two"]["parameters"] > 0
    assert 0 < found["one"]["seconds_per_step"] < found["two"]["seconds_per_step"]  # in turn: "two" comes just after
    for name in found:
        assert found[name]["quartiles"][0] < found[name]["seconds_per_step"] < found[name]["quartiles"][2]
        assert 0 < found[name]["waiting"] < 0.9
    assert found["one"]["ratio"] == (1, 1, 1)
    assert 1 < found["two"]["ratio"][0] <= found["two"]["ratio"][1] < found["two"]["ratio"][2]
