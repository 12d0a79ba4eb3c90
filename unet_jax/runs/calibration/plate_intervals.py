"""The factor of the intervals of overhangs that a run keeps in `WORKDIR/calibration.json`; see `measurement.plates.intervals`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from unet_jax.data.dataset import ExampleSource
from unet_jax.errors import UserError
from unet_jax.measurement.plates.group import FactorGroup, most_plates
from unet_jax.measurement.plates.intervals import LEVEL
from unet_jax.measurement.plates.roles import Roles, find_roles
from unet_jax.runs.calibration.temperature_file import NAME, REMEDY, network_of
from unet_jax.runs.load import Opened, is_shipped_name
from unet_jax.storage import json_file, paths

# The key of the file.
KEY = "plates"


def factor_groups(
    source: ExampleSource, class_names: Sequence[str], plate_classes: Mapping[str, str]
) -> list[FactorGroup]:
    """Returns the group that fits the factor, or nothing where the examples have no `plates` of two kinds.

    Args:
      source: the examples.
      class_names: of the network.
      plate_classes: the arguments of `find_roles`.

    Raises:
      UserError: as `find_roles`; or classes are given, and the examples have no `plates`.
    """
    if "plates" not in source[0]:
        for flag, name in plate_classes.items():
            if name:
                raise UserError(
                    f"--{flag}={name}: the data have no plates whose intervals could be fitted; leave it out"
                )
        return []
    roles = find_roles(class_names, **plate_classes)
    return [FactorGroup(roles, class_names, most_plates(source, roles, class_names))] if roles.cathode else []


def content_of(group: FactorGroup, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the file holds of a fitted factor; nothing where too few overhangs were found for the level."""
    if not math.isfinite(summary["factor"]):
        print(f"note: {summary['num_overhangs']} overhangs of val were found, too few for intervals; none are kept")
        return {}
    fitted = {name: summary[name] for name in ("factor", "num_overhangs")}
    return {KEY: {**fitted, "level": LEVEL, **dataclasses.asdict(group.roles)}}


def read_factor(opened: Opened, roles: Roles) -> float:
    """Returns the factor of the intervals of overhangs.

    Args:
      opened: the networks.
      roles: the classes of the plates.

    Returns:
      NaN for several networks and for a shipped one, and where no factor was fitted for this network and these classes.

    Raises:
      UserError: the file is damaged.
    """
    if len(opened.runs) > 1 or not opened.models or is_shipped_name(opened.models[0]):
        return math.nan
    run, path = opened.runs[0], paths.resolve(opened.models[0], "--workdir") / NAME
    try:
        content = json_file.read_object(path, REMEDY)
    except FileNotFoundError:
        return math.nan
    if KEY not in content or any(content.get(key) != value for key, value in network_of(run, opened.views).items()):
        return math.nan
    fitted = content[KEY]
    if not isinstance(fitted, dict) or not isinstance(fitted.get("factor"), int | float) or not fitted["factor"] > 0:
        raise UserError(f"{path} holds the plates {fitted!r}, without a factor above 0; {REMEDY}")
    same = all(fitted.get(name) == value for name, value in dataclasses.asdict(roles).items())
    return float(fitted["factor"]) if same else math.nan
