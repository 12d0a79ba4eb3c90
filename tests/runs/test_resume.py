"""Configs that a run may resume with, and configs that are refused."""

import pytest

from unet_jax.configs import default
from unet_jax.runs.resume import resume_conflict


def conflict(old=None, new=None, free=(), num_examples=160):
    configs = []
    for changes in (old or {}, new or {}):
        config = default.get_config()
        config.update_from_flattened_dict({"optim.boundaries": (), **changes})
        configs.append(config.to_dict())
    return resume_conflict(*configs, free, num_examples)


@pytest.mark.parametrize("schedule", ["constant", "plateau", "step"])
def test_schedules_without_an_end_may_run_longer(schedule):
    old = {"optim.schedule": schedule, "optim.boundaries": (100,) if schedule == "step" else ()}
    assert conflict(old, {**old, "train.num_steps": 1000}) == ""
    changed = {**old, "train.num_steps": 9, "optim.learning_rate": 0.1}
    assert "optim.learning_rate: 0.002 there, 0.1 now" in conflict(old, changed)


def test_boundaries_keep_the_unit_of_the_length():
    old = {"optim.schedule": "step", "optim.boundaries": (100,)}
    epochs = {"train.num_steps": 0, "train.num_epochs": 90.0}
    text = conflict(old, old | epochs)
    assert "optim.boundaries" in text
    assert "train.num_steps;" in text
    assert conflict({"optim.schedule": "constant"}, {"optim.schedule": "constant"} | epochs) == ""


def test_a_run_whose_warm_up_was_shortened_may_not_run_longer():
    """The learning rate of its steps differs from that of a longer run."""
    short = {"optim.schedule": "constant", "train.num_steps": 20}
    text = conflict(short, short | {"train.num_steps": 320})
    assert "train.num_steps: 20 there, 320 now" in text
    assert "50 steps" in text
    # Both runs have a warm-up of two steps, or none.
    assert conflict(short, short | {"train.num_steps": 29}) == ""
    assert conflict(short | {"optim.warmup_steps": 0}, short | {"optim.warmup_steps": 0, "train.num_steps": 320}) == ""
    # 5 epochs of 160 examples are 100 steps of 8.
    epochs = {"optim.schedule": "constant", "optim.warmup_steps": 0, "optim.warmup_epochs": 5.0}
    assert "10 in the shorter run" in conflict(epochs | {"train.num_steps": 100}, epochs)
    assert conflict(epochs | {"train.num_steps": 101}, epochs) == ""


@pytest.mark.parametrize("schedule", ["cosine", "poly", "one_cycle"])
def test_schedules_with_an_end_may_not_run_longer(schedule):
    old = {"optim.schedule": schedule}
    text = conflict(old, {**old, "train.num_steps": 1000})
    assert "train.num_steps: 320 there, 1000 now" in text
    assert f"optim.schedule '{schedule}'" in text
    assert "step, constant" in text


def test_the_same_config_and_free_keys_resume():
    assert conflict() == ""
    assert conflict(new={"train.log_every": 1}, free=("train.log_every",)) == ""
    text = conflict(new={"train.log_every": 1})
    assert "train.log_every: 20 there, 1 now" in text
    assert "--workdir" in text
