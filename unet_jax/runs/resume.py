"""Whether a run may go on with a config: it may where every step that is done would have been the same."""

from collections.abc import Sequence

from unet_jax.experiment import durations
from unet_jax.training.optim.schedules import LENGTHLESS

SAME = "give the same config to resume it, or another --workdir"


def resume_conflict(old: dict, new: dict, free: Sequence[str]) -> str:
    """Why not, and what to do; "" where it may.

    A run may be made longer where its schedule does not depend on the length: `LENGTHLESS`.

    Args:
      old: the config of the run that is there, a nested dict.
      new: that of the run that is to go on.
      free: keys that no result depends on.
    """
    old, new = _flat(old), _flat(new)
    changed = {key for key in old.keys() | new.keys() if old.get(key, "absent") != new.get(key, "absent")}
    changed -= set(free)
    remedy = SAME
    if changed and changed <= {f"train.{key}" for key in durations.LENGTH}:
        if old["optim.schedule"] not in LENGTHLESS:
            known = ", ".join(LENGTHLESS)
            remedy = (
                f"optim.schedule {old['optim.schedule']!r} ends with the run, so only {known} go on for longer; {SAME}"
            )
        elif old["optim.boundaries"] and _unit(old) != _unit(new):
            remedy = f"optim.boundaries are in the unit of the run's length: give that in {_unit(old)}; {SAME}"
        else:
            changed = set()
    differences = (
        f"{key}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} now" for key in sorted(changed)
    )
    return f"a run with another config ({'; '.join(differences)}); {remedy}" if changed else ""


def _unit(config: dict) -> str:
    return next((f"train.{key}" for key in durations.LENGTH if config[f"train.{key}"]), "")


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
