"""The seconds that a step of several networks takes, measured in turn."""

import dataclasses

from benchmarks import step_seconds
from unet_jax.configs import default
from unet_jax.data.augment.options import AugmentOptions


def test_step_seconds_of_two_networks(cache_dir, monkeypatch):
    seconds = iter(range(1000))
    # Each step is longer than the one before.
    monkeypatch.setattr(step_seconds.time, "perf_counter", lambda: next(seconds) ** 2)
    configs = {"one": default.get_config(), "two": default.get_config()}
    for config, widths in zip(configs.values(), ((4, 8, 8), (4, 8)), strict=True):
        config.model = default.unet()
        config.model.widths = widths
        # No augmentation.
        config.augment = dataclasses.asdict(AugmentOptions())
        config.data.update({"patch": (32, 32), "size": (32, 32), "cache_dir": cache_dir})
        config.data.update({"num_train": 6, "num_val": 3, "num_test": 3})
    measured = step_seconds.measure(configs, num_turns=2)
    assert measured["one"]["parameters"] > measured["two"]["parameters"] > 0
    # In turn: "two" comes after "one" each time.
    assert 0 < measured["one"]["seconds_per_step"] < measured["two"]["seconds_per_step"]
    for name in measured:
        assert measured[name]["quartiles"][0] < measured[name]["seconds_per_step"] < measured[name]["quartiles"][2]
        assert 0 < measured[name]["waiting"] < 0.9
    assert measured["one"]["ratio"] == (1, 1, 1)
    assert 1 < measured["two"]["ratio"][0] <= measured["two"]["ratio"][1] < measured["two"]["ratio"][2]
