"""Reads and writes the trained networks that the package ships.

    unet_jax/pretrained/NAME.npz     float32 arrays by path, such as `params/x_0_0/conv_0/kernel`
    unet_jax/pretrained/NAME.json    the record: config, facts of the data, score, command, versions, sha256 of both files

`benchmarks/pretrained.py` makes both files from the workdir of a run; nothing in them is ever unpickled.
"""

import dataclasses
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from unet_jax.errors import UserError
from unet_jax.storage import json_file, paths
from unet_jax.storage.digests import json_sha256
from unet_jax.storage.write_errors import report_write_errors

FOLDER = Path(__file__).parent
# The key of the record that holds the sha256 of all others.
RECORD_SHA256 = "record_sha256"
REMEDY = "install the package again"


@dataclasses.dataclass(frozen=True)
class Shipped:
    """A trained network as its two files hold it.

    Attributes:
      name: the name that `unet_jax.load` knows it by.
      record: the content of NAME.json. Its keys `config` (of the run, lists as tuples), `data` (see `workdir.data_facts`),
        `num_classes` (channels of the logits), `step`, `weights` ("raw" or "ema"), `score` and `command` say how the
        network was built, trained and scored.
      variables: `params` and, where the network normalises by batch statistics, `batch_stats`: nested dicts of float32.
    """

    name: str
    record: Mapping[str, Any]
    variables: dict[str, Any]


def names(folder: Path | None = None) -> tuple[str, ...]:
    """Returns the names of the networks whose two files lie in `folder`, by default the package's own; sorted.

    >>> names()
    ('electrodes',)
    """
    folder = folder or FOLDER
    files = (path for path in folder.glob("*.npz") if path.is_file())
    return tuple(sorted(path.stem for path in files if path.with_suffix(".json").is_file()))


def read(name: str, folder: Path | None = None) -> Shipped:
    """Reads a network and checks the sha256 of its two files.

    Args:
      name: one of `names`.
      folder: holds the two files; the package's own by default.

    Raises:
      UserError: the name is unknown, NAME.json is not what was written, or NAME.npz is not the file that it describes.
    """
    folder = folder or FOLDER
    if name not in names(folder):
        known = ", ".join(names(folder)) or "none"
        raise UserError(
            f"model {name!r} is neither a folder nor a shipped network; shipped: {known}. Write the path of a run with a "
            f"slash, such as ./{name}"
        )
    record_path = folder / f"{name}.json"
    record = json_file.read_object(record_path, REMEDY)
    if record.pop(RECORD_SHA256, "") != json_sha256(record):
        raise UserError(
            f"{record_path} is damaged: it differs from what was written (its sha256 is another one); {REMEDY}"
        )
    content = (folder / f"{name}.npz").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != record["sha256"]:
        raise UserError(
            f"{folder / name}.npz is damaged: its sha256 is {digest[:12]}..., {name}.json says {record['sha256'][:12]}...; "
            f"{REMEDY}"
        )
    record = json_file.tuples(record)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Shipped(name, record, traverse_util.unflatten_dict(dict(arrays), sep="/"))


def write(name: str, variables: Mapping[str, Any], record: Mapping[str, Any], folder: Path | None = None) -> list[Path]:
    """Writes the two files of a network; the same arrays and record give the same bytes.

    Args:
      name: the name of the network.
      variables: nested dicts of arrays; they are written as float32.
      record: the content of NAME.json without the two sha256, which this function adds.
      folder: gets the two files; the package's own by default.

    Returns:
      The paths of NAME.npz and NAME.json.

    Raises:
      UserError: a file cannot be written.
    """
    folder = folder or FOLDER
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    arrays = {path: np.asarray(flat[path], np.float32) for path in sorted(flat)}
    encoded = io.BytesIO()
    np.savez(encoded, allow_pickle=False, **arrays)
    content = encoded.getvalue()
    arrays_path, record_path = folder / f"{name}.npz", folder / f"{name}.json"
    with report_write_errors():
        paths.write_whole(arrays_path, content)
        whole = json_file.plain({**record, "sha256": hashlib.sha256(content).hexdigest()})
        json_file.write(record_path, {**whole, RECORD_SHA256: json_sha256(whole)}, indent=1)
    return [arrays_path, record_path]
