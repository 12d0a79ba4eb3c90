"""The runs behind the results: which they are, what they compare and the flags of each."""

import pytest

from benchmarks import rows
from unet_jax.errors import UserError


def test_compared_experiments_differ_in_the_network_alone():
    for data, experiments in rows.EXPERIMENTS.items():
        # The loss of nuclei's U-Net is the same one in other terms.
        different = {"unet_pp_paper"} | ({"unet"} if data == "nuclei" else set())
        compared = [name for name, each in experiments.items() if name not in different and not each.adds_to]
        configs = [rows.create_config(data, variant).to_dict() for variant in compared]
        models = [config.pop("model") for config in configs]
        assert all(config == configs[0] for config in configs)
        assert len({str(model) for model in models}) == len(models)
        models = [model for model in models if model["name"].startswith("unet") and not model["encoder"]]
        assert all(model["widths"] == models[0]["widths"] for model in models)
        shared = [
            {k: v for k, v in model.items() if k not in ("name", "deep_supervision", "level")} for model in models
        ]
        assert all(model == shared[0] for model in shared)


def test_an_experiment_that_adds_to_another_differs_in_its_flags():
    adding = [(data, name) for data, all_ in rows.EXPERIMENTS.items() for name in all_ if all_[name].adds_to]
    assert {name for _, name in adding} == {"unet_elastic", "unet_foreground", "unet_ema", "unet_weight_map"}
    for data, name in adding:
        experiment = rows.EXPERIMENTS[data][name]
        assert experiment.flags
        assert experiment.config == rows.EXPERIMENTS[data][experiment.adds_to].config
        config, base = rows.create_config(data, name), rows.create_config(data, experiment.adds_to)
        assert config != base
        base.update_from_flattened_dict(dict(experiment.flags))
        assert config == base


def test_rows_have_different_names_and_networks_take_turns():
    assert len({row.name for row in rows.ROWS}) == len(rows.ROWS)
    for data, minutes in (("electrodes", 2), ("battery_xray", 2)):
        those = [row for row in rows.ROWS if row.data == data and row.minutes == minutes]
        order = [(row.seed, row.variant) for row in those if row.train_fraction == 1]
        assert order == [(seed, variant) for seed in range(3) for variant in rows.EXPERIMENTS[data]]
        shares = {(row.variant, row.train_fraction) for row in those if row.variant in rows.SHARED[data]}
        assert shares == {(variant, share) for variant in rows.SHARED[data] for share in (0.25, 0.5, 1.0)}


def test_flags_are_those_of_the_run():
    row = rows.Row("battery_xray", "unet_pp_one_head", 3, seed=2)
    assert rows.train_flags(row, 300) == [
        "--config=configs/battery_xray.py:FOLDER",
        "--config.model.deep_supervision=False",
        "--config.seed=2",
        "--config.train.num_steps=300",
        "--config.train.eval_every=100",
    ]
    fewer = rows.train_flags(rows.Row("electrodes", "unet", 2, 1, 0.25), 300)
    assert "--config.data.train_fraction=0.25" in fewer
    # A trial.
    assert "--config.optim.warmup_steps=3" in rows.train_flags(row, 10)
    # The floor of 342.86.
    assert rows.steps_in(2, 0.35) == 342
    assert rows.steps_in(0.001, 0.7) == rows.LEAST_STEPS


def test_rows_that_do_not_exist():
    with pytest.raises(UserError, match=r"--only=unet: .*electrodes-unet-2min-seed0"):
        rows.select("unet")
    assert rows.select("electrodes-unet-*share0.5", minutes=0.1)[0].name == "electrodes-unet-0.1min-seed0-share0.5"
    assert [row.name for row in rows.select("battery*seed0", minutes=0.1)] == [
        "battery_xray-unet-0.1min-seed0",
        "battery_xray-unet_pp_one_head-0.1min-seed0",
        "battery_xray-unet_pp-0.1min-seed0",
        *(f"battery_xray-unet_{added}-0.1min-seed0" for added in rows.ADDED),
    ]
