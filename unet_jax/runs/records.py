"""Reads a run's `config.json` and `versions.json`, and checks that they have the form that `workdir.py` gave them.

A crash of the machine may leave a file empty or cut off, and a user may change one. Whatever reads a run reads these files
here, so that each such file ends in one line that names it.
"""

from collections.abc import Callable
from typing import Any

from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage import json_file

REMEDY = "restore the file from a backup, or train again into another --workdir"


def read_config(workdir: Path) -> dict[str, Any]:
    """Reads `config.json` as it is; `workdir.load_config` makes a config of it.

    Args:
      workdir: the run's folder.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the file cannot be read, or is not a JSON object.
    """
    return json_file.read_object(workdir / "config.json", REMEDY)


def read_versions(workdir: Path) -> dict[str, Any]:
    """Reads `versions.json`: `data`, which holds `workdir.data_facts`, and `starts`, one dict for each start.

    Args:
      workdir: the run's folder.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the file cannot be read, is not a JSON object, or a key is missing or of another type.
    """
    path = workdir / "versions.json"
    content = {"starts": [], **json_file.read_object(path, REMEDY)}
    _check(path, "", content, {"data": _is_dict, "starts": _is_list_of(_is_dict)})
    _check(path, "data.", content["data"], FACTS)
    for number, start in enumerate(content["starts"]):
        _check(path, f"starts[{number}].", {**EARLIER, **start}, START)
    return content


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_positive(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_list_of(is_right: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(is_right, value))


def _is_dict_of(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(is_right, value.values()))


def _is_cpu(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    parts = {"threads": _is_positive, "model": _is_text, "instructions": _is_list_of(_is_text)}
    return not value or all(is_right(value.get(key)) for key, is_right in parts.items())


def _is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_whole(part) and part < 256 for part in value)


# What must hold for the facts of the data, and for what a start has of these. Other keys are free.
FACTS: dict[str, Callable[[Any], bool]] = {
    "fingerprint": _is_text,
    "class_names": _is_list_of(_is_text, least=1),
    "channels": _is_positive,
    "overlapping": _is_bool,
    "palette": _is_list_of(_is_colour),
    "splits": _is_dict_of(_is_whole),
}
START: dict[str, Callable[[Any], bool]] = {
    "start_step": _is_whole,
    "memory": _is_whole,
    "imports": _is_dict_of(_is_text),
    "init_from": _is_dict,
    "packages": _is_dict_of(_is_text),
    "cpu": _is_cpu,
    "jax_config": _is_dict,
}
# What counts for a start of an earlier version, which has not recorded it.
EARLIER: dict[str, Any] = {key: {} for key in START} | {"start_step": 0, "memory": 0}


def _check(path: Path, prefix: str, values: dict[str, Any], required: dict[str, Callable[[Any], bool]]) -> None:
    for key, is_right in required.items():
        if key not in values:
            raise UserError(f"{path} has no {prefix}{key}: it is damaged or of another version; {REMEDY}")
        if not is_right(values[key]):
            shown = repr(values[key])
            shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
            raise UserError(f"{path}: {prefix}{key} is {shown}: it is damaged or of another version; {REMEDY}")
