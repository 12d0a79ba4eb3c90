"""Sweeps: a config file that has `get_sweep()` beside `get_config()` lists the points of one, each some keys and values.

`run_train.py --sweep_index=N` runs point N, so that a job array of a cluster is a sweep.
"""

import functools
import importlib.util
import operator
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from unet_jax.errors import UserError


def read(path: str | Path) -> list[dict[str, Any]]:
    """The points that `get_sweep()` of a config file lists: values by key, such as `{"seed": 1, "model.name": "unet"}`.

    Raises:
      UserError: it has no such function, or that does not list points.
    """
    spec = importlib.util.spec_from_file_location("sweep_of_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_sweep"):
        raise UserError(
            f"--sweep_index: {path} has no get_sweep(); add one that returns a list of points, or leave it out"
        )
    points = module.get_sweep()
    if not (isinstance(points, Sequence) and points and all(isinstance(point, Mapping) for point in points)):
        raise UserError(
            f"{path}: get_sweep() must return a list of points, each a dict of values by key; it gave {points!r}"
        )
    return [dict(point) for point in points]


def choose(points: Sequence[Mapping[str, Any]], index: int) -> Mapping[str, Any]:
    """Point number `index`, from 0; UserError where there is none."""
    if not 0 <= index < len(points):
        raise UserError(f"--sweep_index={index}: the sweep has points 0 to {len(points) - 1}")
    return points[index]


def apply(config: ConfigDict, point: Mapping[str, Any], given: Collection[str] = ()) -> None:
    """Sets the keys of a point in `config`; `given` are the keys that the command line sets.

    Raises:
      UserError: a key is set by both, is not in the config, or has a value of another type there.
    """
    for key, value in point.items():
        if key in given:
            raise UserError(f"--config.{key} is given, and the sweep sets it, too; leave one of them out")
        *parents, last = key.split(".")
        try:
            node = functools.reduce(operator.getitem, parents, config)
            if last not in node:  # or the update would add it
                raise KeyError(f"there is no key {key}")
            node[last] = value
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the sweep's {key}={value!r} does not fit the config: {error}") from error


def name_of(index: int, point: Mapping[str, Any]) -> str:
    """What the folder of a point's run is called, such as "2-unet-seed1": its index and its values."""
    values = (
        f"{key.split('.')[-1]}{value}" if isinstance(value, (int, float)) else str(value)
        for key, value in point.items()
    )
    text = "-".join([str(index), *values])
    return "".join(char if char.isalnum() or char in "-._=" else "_" for char in text)[:100]
