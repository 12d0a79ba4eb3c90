"""Durations in steps, epochs and examples: their number of steps, and the check that exactly one is given."""

import re

import pytest

from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.experiment import durations
from unet_jax.experiment.sections import read_sections


def resolve(size=30, **changed):
    """Returns the durations for `size` examples in batches of 8; `changed` replaces the default of that duration."""
    config = default.get_config()
    for section, keys in (
        (config.train, durations.LENGTH),
        (config.train, durations.EVERY),
        (config.optim, durations.WARMUP),
    ):
        for key in keys:
            section[key] = changed.get(key, 0 if set(keys) & set(changed) else section[key])
    config.optim.boundaries = changed.get("boundaries", ())
    return read_sections(config).resolve_durations(size)


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"num_steps": 100}, 100),
        ({"num_epochs": 4.0}, 15),  # 120 examples
        ({"num_epochs": 3.0}, 12),  # 90, of which 11 steps would leave out two
        ({"num_epochs": 0.1}, 1),
        ({"num_examples": 64}, 8),
        ({"num_examples": 65}, 9),
    ],
)
def test_length(given, steps):
    assert resolve(**given).num_steps == steps


def test_no_rounding_error_adds_a_step():
    assert resolve(80, num_epochs=0.1 + 0.2).num_steps == 3  # 24.000000000000004 examples


def test_every_duration_has_its_own_unit():
    """And boundaries have that of the length."""
    run = resolve(num_epochs=8.0, eval_every_examples=100, warmup_epochs=0.5, boundaries=(2, 4))
    assert (run.num_steps, run.eval_every, run.warmup_steps, run.boundaries) == (30, 13, 2, (8, 15))
    assert run.lines == ("8 epochs are 30 steps of 8 images (8 epochs of 30 images), evaluated every 13 steps",)
    assert resolve(num_steps=30, boundaries=(2, 4)).boundaries == (2, 4)
    assert resolve(warmup_steps=0).warmup_steps == 0


@pytest.mark.parametrize(
    ("given", "beyond"),
    [
        ({"num_steps": 20, "boundaries": (10, 19)}, []),
        ({"num_steps": 20, "boundaries": (10, 20, 30)}, ["optim.boundaries 20, 30 (steps,"]),
        ({"num_epochs": 4.0, "boundaries": (3, 30)}, ["optim.boundaries 30 (epochs,"]),
    ],
)
def test_boundaries_that_the_run_does_not_reach_are_named(given, beyond):
    """The rate of the last step, the 20th, is that of step 19."""
    run = resolve(**given)
    assert len(run.boundaries) == len(given["boundaries"])
    warnings = [line for line in run.lines if line.startswith("warning: ")]
    assert len(warnings) == len(beyond)
    for line, text in zip(warnings, beyond, strict=True):
        assert text in line


@pytest.mark.parametrize(
    ("given", "used", "note"),
    [
        ({"num_steps": 51, "warmup_steps": 50}, 50, ""),
        ({"num_steps": 50, "warmup_steps": 50}, 5, "optim.warmup_steps=50"),
        ({"num_steps": 20}, 2, "optim.warmup_steps=50"),  # that of configs/default.py
        ({"num_steps": 9}, 0, "optim.warmup_steps=50"),
        ({"num_steps": 20, "warmup_epochs": 6.0}, 2, "optim.warmup_epochs=6"),
        ({"num_steps": 20, "warmup_examples": 160}, 2, "optim.warmup_examples=160"),
    ],
)
def test_a_warm_up_that_does_not_end_within_the_run_is_shortened(given, used, note):
    run = resolve(**given)
    assert run.warmup_steps == used
    notes = [line for line in run.lines if line.startswith("note: ")]
    assert len(notes) == bool(note)
    for line in notes:
        assert note in line
        assert (f"{used} steps" if used else "no warm-up") in line


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"num_steps": 10, "num_epochs": 2.0}, "train.num_steps=10", "train.num_epochs=2.0"),
        ({"num_steps": 0}, "train.num_steps 0", "train.num_steps, train.num_epochs, train.num_examples"),
        ({"eval_every": 0}, "train.eval_every 0", "train.eval_every, train.eval_every_epochs"),
        ({"warmup_steps": 5, "warmup_epochs": 1.0}, "optim.warmup_steps=5", "optim.warmup_epochs=1.0"),
        ({"num_steps": -3}, "train.num_steps", "-3"),
        ({"num_epochs": float("nan")}, "train.num_epochs", "nan"),
        ({"boundaries": ("a",)}, "optim.boundaries", "('a',)"),
        ({"num_epochs": 1e10}, "train.num_epochs 10000000000.0", "37500000000 steps; give at most 2147483647"),
        ({"boundaries": (3, 2**31)}, "optim.boundaries (3.0, 2147483648.0)", "2147483648 steps"),
    ],
)
def test_bad_values_are_named(given, key, value):
    with pytest.raises(UserError, match=f"{re.escape(key)}.*{re.escape(value)}"):
        resolve(**given)
