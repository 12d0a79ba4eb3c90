"""Checks that a run may resume with a config: each step done so far would have been the same with it."""

from collections.abc import Sequence
from typing import Any

from unet_jax.experiment import durations
from unet_jax.training.optim.options import LENGTHLESS

SAME = "give the same config to resume it, or another --workdir"


def resume_conflict(old: dict[str, Any], new: dict[str, Any], free: Sequence[str], num_examples: int = 1) -> str:
    """Returns the reason why a run cannot resume with a config, and what to do; "" if it can resume.

    A run can be made longer if the rate of the steps done does not depend on its length. So its schedule must be one of
    `LENGTHLESS`, and its warm-up must take as many steps as before (`durations.shorten_warmup`).

    Args:
      old: the config that the run was started with, a nested dict.
      new: the config that it is to resume with.
      free: keys that may differ, such as `train.log_every`.
      num_examples: number of examples in the training split.
    """
    old, new = _flat(old), _flat(new)
    changed = {key for key in old.keys() | new.keys() if old.get(key, "absent") != new.get(key, "absent")}
    changed -= set(free)
    remedy = SAME
    if changed and changed <= {f"train.{key}" for key in durations.LENGTH}:
        warmups = [_warmup_steps(config, num_examples) for config in (old, new)]
        if old["optim.schedule"] not in LENGTHLESS:
            known = ", ".join(LENGTHLESS)
            remedy = (
                f"optim.schedule {old['optim.schedule']!r} depends on the run's length, and only {known} do not; {SAME}"
            )
        elif old["optim.boundaries"] and _unit(old) != _unit(new):
            remedy = f"optim.boundaries are in the unit of the run's length: give that in {_unit(old)}; {SAME}"
        elif warmups[0] != warmups[1]:
            remedy = f"the warm-up would take {warmups[1]} steps, and it took {warmups[0]} in the shorter run; {SAME}"
        else:
            changed = set()
    if not changed:
        return ""
    differences = [f"{key}: {_value(old, key)} there, {_value(new, key)} now" for key in sorted(changed)]
    return f"a run with another config ({'; '.join(differences)}); {remedy}"


def _value(config: dict[str, Any], key: str) -> str:
    return repr(config[key]) if key in config else "not set"


def _unit(config: dict[str, Any]) -> str:
    """Returns the key that gives the run's length."""
    return next((f"train.{key}" for key in durations.LENGTH if config[f"train.{key}"]), "")


def _warmup_steps(config: dict[str, Any], num_examples: int) -> int:
    """Returns the steps of the warm-up that the run uses."""
    length, warmup = (
        durations.one_duration(section, {key: config[f"{section}.{key}"] for key in keys}, optional=True).steps(
            config["train.batch_size"], num_examples
        )
        for section, keys in (("train", durations.LENGTH), ("optim", durations.WARMUP))
    )
    return durations.shorten_warmup(warmup, length)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of a nested dict by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
