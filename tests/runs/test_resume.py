"""Which configs a run goes on with."""

import pytest

from configs import default
from unet_jax.runs.resume import resume_conflict


def refused(there=None, now=None, free=()):
    configs = []
    for changes in (there or {}, now or {}):
        config = default.get_config()
        config.update_from_flattened_dict({"optim.boundaries": (), **changes})
        configs.append(config.to_dict())
    return resume_conflict(*configs, free)


@pytest.mark.parametrize("schedule", ["constant", "plateau", "step"])
def test_what_does_not_depend_on_the_length_goes_on_for_longer(schedule):
    own = {"optim.schedule": schedule, "optim.boundaries": (100,) if schedule == "step" else ()}
    assert refused(own, {**own, "train.num_steps": 1000}) == ""
    assert "learning_rate: 0.002 there, 0.1 now" in refused(
        own, {**own, "train.num_steps": 9, "optim.learning_rate": 0.1}
    )


def test_in_another_unit_boundaries_would_be_other_steps():
    own, epochs = (
        {"optim.schedule": "step", "optim.boundaries": (100,)},
        {"train.num_steps": 0, "train.num_epochs": 90.0},
    )
    assert "give that in train.num_steps" in refused(own, own | epochs)
    assert refused({"optim.schedule": "constant"}, {"optim.schedule": "constant"} | epochs) == ""


@pytest.mark.parametrize("schedule", ["cosine", "poly", "one_cycle"])
def test_what_ends_with_the_run_is_refused(schedule):
    own = {"optim.schedule": schedule}
    why = refused(own, {**own, "train.num_steps": 1000})
    assert (
        f"num_steps: 320 there, 1000 now); optim.schedule '{schedule}' ends with the run, so only step, constant" in why
    )


def test_the_same_and_what_is_free_go_on():
    assert refused() == ""
    assert refused(now={"train.log_every": 1}, free=("train.log_every",)) == ""
    assert refused(now={"train.log_every": 1}) == (
        "a run with another config (train.log_every: 20 there, 1 now); give the same config to resume it, or another --workdir"
    )
