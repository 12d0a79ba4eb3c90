"""Sweeps: a config file with `get_sweep()` next to `get_config()` lists the points of a sweep, each a dict of values by key.

    def get_sweep() -> list[dict]:
        networks = ({}, {"model": default.unet(), "model.widths": (16, 32, 64)}, {"model": default.fcn()})
        return [{**network, "seed": seed} for network in networks for seed in range(3)]

A value may be a whole section, as the functions of `configs/default.py` make them. It replaces the config's section,
because another network has other keys. A key within the section is set after it.

`unet-jax train --sweep_index=N` runs point N, so that a job array of a cluster is a sweep.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from unet_jax.checks import shown
from unet_jax.errors import UserError
from unet_jax.experiment.sections import DataSection, LoadingSection, keys_of
from unet_jax.runtime.config_file import ConfigFile, call, find_config

# Sections whose keys depend on their `name`, with the keys that every such section has. The network or the data set checks
# the other keys.
BY_NAME = {
    "model": {"name", "dtype", "activation"},
    "data": {*keys_of(DataSection), *keys_of(LoadingSection)} - {"options"},
}

# What to give for a value of each type.
KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a string", tuple: "a tuple"}
NOTHING: Mapping[str, str] = {}


def read_sweep(path: str | Path) -> list[dict[str, Any]]:
    """Returns the points that `get_sweep()` of a config file lists, e.g. `{"seed": 1, "model": default.unet()}`.

    Args:
      path: the config file.

    Raises:
      UserError: the file fails, it has no such function, or the function does not return a list of points.
    """
    points = _list_points(path)
    if points is None:
        raise UserError(
            f"--sweep_index: {path} has no get_sweep(); add one that returns a list of points, or leave it out"
        )
    return points


def check_no_sweep(config_file: str | Path) -> None:
    """Checks that a config file lists no sweep. A training of its base config would stand among those of the points.

    Args:
      config_file: the file; what follows a colon is left out.

    Raises:
      UserError: the file lists a sweep.
    """
    path = find_config(str(config_file)).path
    # Runs the file again only where it may have the function.
    points = _list_points(path) if b"get_sweep" in path.read_bytes() else None
    if points is not None:
        raise UserError(
            f"--sweep_index is missing: {path} lists a sweep of {len(points)} points; give --sweep_index=N, "
            f"N from 0 to {len(points) - 1}"
        )


def choose_point(points: Sequence[Mapping[str, Any]], index: int) -> Mapping[str, Any]:
    """Returns the point of a sweep by its number.

    Args:
      points: the points of the sweep.
      index: the number, from 0.

    Raises:
      UserError: there is no point of that number.
    """
    if not 0 <= index < len(points):
        raise UserError(f"--sweep_index={index}: the sweep has points 0 to {len(points) - 1}")
    return points[index]


def apply_point(config: ConfigDict, point: Mapping[str, Any], given: Mapping[str, str] = NOTHING) -> None:
    """Sets the keys of a point in `config`, sections before the keys within them.

    Args:
      config: the config; it is changed.
      point: values by dotted key.
      given: the flags of the command line that set keys, by key, e.g. `{"seed": "--config.seed"}`.

    Raises:
      UserError: both the point and the command line set a key; or a key is not in the config, or has a value of another
        type there; or a section has other keys there.
    """
    for key, value in sorted(point.items(), key=lambda item: item[0].count(".")):
        for other, flag in given.items():
            if f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}."):
                raise UserError(f"{flag} is given, and the sweep sets {key} too; leave one of them out")
        subject = f"the sweep's {key}={shown(_text(key, value))}"
        parts = key.split(".")
        node = config
        for i, name in enumerate(parts):
            # Without this an update would add the key.
            if not _is_section(node) or name not in node:
                known = ", ".join(node) if _is_section(node) else "no keys, it is one value"
                raise UserError(f"{subject}: {'.'.join(['config', *parts[:i]])} has no key {name}; it has: {known}")
            section, node = node, node[name]
        _exchange(section, parts[-1], value, key, subject)


def describe_point(point: Mapping[str, Any]) -> str:
    """Returns the point in one line; a section is shown by its name.

    >>> describe_point({"seed": 1, "model": {"name": "unet", "widths": (8, 16)}})
    'seed=1, model=unet'
    """
    return ", ".join(f"{key}={_text(key, value)}" for key, value in point.items())


def point_name(index: int, point: Mapping[str, Any]) -> str:
    """Returns the name of the folder of a point's run: its index and its values.

    >>> point_name(2, {"model": {"name": "unet"}, "seed": 1})
    '2-unet-seed1'
    """
    values = (
        f"{key.split('.')[-1]}{_text(key, value)}" if isinstance(value, (int, float)) else _text(key, value)
        for key, value in point.items()
    )
    text = "-".join([str(index), *values])
    name = "".join(char if char.isalnum() or char in "-._=" else "_" for char in text)
    # Cut by bytes: a letter may have several, and a folder's name at most 255.
    return name.encode()[:100].decode(errors="ignore")


def apply_sweep_index(
    config: ConfigDict, workdir: str, index: int, *, config_file: str, given: Mapping[str, str] = NOTHING
) -> str:
    """Applies a point of a sweep to a config, and prints the point.

    Args:
      config: the config; it is changed.
      workdir: the folder of the sweep.
      index: the number of the point, from 0.
      config_file: the file that lists the sweep; what follows a colon is left out.
      given: as in `apply_point`.

    Returns:
      The folder of the point's run, in `workdir`.

    Raises:
      UserError: as `read_sweep`, `choose_point` and `apply_point`.
    """
    point = choose_point(read_sweep(find_config(config_file).path), index)
    apply_point(config, point, given=given)
    workdir = f"{workdir}/{point_name(index, point)}"
    print(f"point {index} of the sweep: {describe_point(point)}; into {workdir}")
    return workdir


def _list_points(path: str | Path) -> list[dict[str, Any]] | None:
    """Runs a config file and returns the points of its `get_sweep()`; None where it has no such function."""
    points = call(ConfigFile(Path(path), None), "get_sweep", [], "sweep_of_config", optional=True)
    if points is None:
        return None
    if not (isinstance(points, Sequence) and points and all(map(_is_point, points))):
        raise UserError(
            f"{path}: get_sweep() must return a list of points, each a dict of values by key; it gave {shown(points)}"
        )
    return [dict(point) for point in points]


def _is_section(value: Any) -> bool:
    return isinstance(value, ConfigDict | dict)


def _is_point(point: Any) -> bool:
    return isinstance(point, Mapping) and all(isinstance(key, str) for key in point)


def _exchange(node: ConfigDict, name: str, new: Any, key: str, subject: str) -> None:
    """Sets `node[name]`, which is `key` of the config; a section key by key, so that each type is checked."""
    old = node[name]
    if _is_section(old) != _is_section(new):
        what = "a section, give its keys" if _is_section(old) else "one value, not a section"
        raise UserError(f"{subject}: {key} is {what}")
    if not _is_section(new):
        try:
            node[name] = new
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{subject}: {key} is {shown(new)}; give {KINDS.get(type(old), 'another value')}"
            ) from error
    elif key in BY_NAME:
        if missing := BY_NAME[key] - set(new):
            raise UserError(
                f"{subject}: lacks {', '.join(sorted(missing))}; the functions of configs/default.py make whole sections"
            )
        # A copy, because points may share the section.
        node[name] = ConfigDict(copy.deepcopy(new))
    elif set(old) != set(new):
        raise UserError(f"{subject}: {key} has the keys {', '.join(sorted(new))}; give {', '.join(sorted(old))}")
    else:
        for part in new:
            _exchange(old, part, new[part], f"{key}.{part}", subject)


def _text(key: str, value: Any) -> str:
    """Returns a value in short. A section is shown by its name, or by its key where it has no name."""
    if _is_section(value):
        return str(value.get("name", key.split(".")[-1]))
    try:
        return str(value)
    except ValueError:
        # Python writes no whole number of more than 4300 digits.
        return shown(value)
