"""Reads and writes an encoder's weights: NumPy's .npz, one float32 array per variable by its path (`params/stem_conv/kernel`).

The file also holds `encoder`, the name in `ENCODERS`. `unet-jax from-torch` writes such files; nothing in them is ever
unpickled.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from unet_jax.errors import UserError
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.encoders.state_dict import check_numbers, read_arrays
from unet_jax.storage.paths import home_expanded

# The submodule of a network that is its encoder.
PREFIX = "encoder"
# The most names that an error lists of one kind of problem.
SHOWN = 20


def write_encoder_weights(path: Path, name: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays of the encoder called `name`, in one move; makes the folder.

    Raises:
      OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    working = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with working.open("wb") as file:
            np.savez(file, allow_pickle=False, encoder=np.array(name), **arrays)
        working.replace(path)
    finally:
        working.unlink(missing_ok=True)


def read_encoder_weights(path: str | Path) -> tuple[str, dict[str, np.ndarray]]:
    """Returns the encoder's name and its arrays by path, float32.

    Raises:
      UserError: the file cannot be read, or `write_encoder_weights` did not write it.
    """
    try:
        arrays = read_arrays(Path(home_expanded(path)))
        name = arrays.pop("encoder", np.zeros(0))
        check_numbers(arrays)
    except Exception as error:
        # For a damaged file NumPy raises errors of many kinds.
        why = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"model.encoder_weights={path} cannot be read as .npz ({why}); give a file that unet-jax from-torch wrote."
        ) from error
    if name.ndim or name.dtype.kind != "U":
        raise UserError(
            f"{path} was not written by unet-jax from-torch: convert torchvision's weights with that command."
        )
    with np.errstate(over="ignore"):
        return str(name), {key: array.astype(np.float32) for key, array in arrays.items()}


def load_encoder_weights(variables: dict[str, Any], path: str | Path, name: str) -> tuple[dict[str, Any], str]:
    """Replaces the variables of a network's encoder by those of a file.

    If the network reads C channels and the file three, channel c of the first kernel is channel c mod 3 of the file's, times
    3 / C: C equal channels then give about the result of three. Of C = 1 it is the sum of the three: a grey image gives the same
    result as three equal channels. (timm has the same rule.) Arrays of levels that the network does not have are not used.

    Args:
      variables: `params` of a network with an encoder, and `batch_stats` where it normalises by batch statistics.
      path: a file that `write_encoder_weights` wrote.
      name: the network's encoder, by its name in `ENCODERS`.

    Returns:
      The variables, and a line that says what was loaded.

    Raises:
      UserError: the file cannot be read, holds another encoder, or its arrays are missing, not finite or of another shape.
    """
    encoder, arrays = read_encoder_weights(path)
    if encoder != name:
        raise UserError(f"{path} holds weights of {encoder}, but model.encoder is {name!r}: give a file of {name}.")
    wanted = flatten({kind: tree[PREFIX] for kind, tree in variables.items() if PREFIX in tree})
    first, note = f"params/{ENCODERS[name](parent=None).FIRST}/kernel", ""
    if first in arrays and first in wanted and arrays[first].ndim == wanted[first].ndim:
        channels, given = wanted[first].shape[2], arrays[first].shape[2]
        if channels == 1 and given == 3:
            arrays[first] = arrays[first].sum(axis=2, keepdims=True)
            note = "; the images are grey, so its first kernel was summed over red, green and blue"
        elif channels != given and given == 3:
            repeated = arrays[first][:, :, np.arange(channels) % 3]
            arrays[first] = repeated * np.float32(3 / channels)
            note = f"; its first kernel, of red, green and blue, was repeated for {channels} channels, times 3 / {channels}"
        elif channels != given:
            raise UserError(
                f"{path} reads images of {given} channels, the data have {channels}: give images of {given} channels, or "
                "start without model.encoder_weights."
            )
    common = [key for key in wanted if key in arrays]
    problems = {
        "missing": [key for key in wanted if key not in arrays],
        "of another shape": [
            f"{key} {list(arrays[key].shape)} for {list(wanted[key].shape)}"
            for key in common
            if arrays[key].shape != wanted[key].shape
        ],
        "with NaN or Inf": [key for key in common if not np.isfinite(arrays[key]).all()],
    }
    raise_weight_mismatch(
        problems, f"{path} does not fit encoder {name}", "convert the weights again with unet-jax from-torch"
    )
    loaded = traverse_util.unflatten_dict({key: arrays[key] for key in wanted}, sep="/")
    unused = len(arrays) - len(wanted)
    if unused:
        note += f"; {unused} arrays of levels that the network does not have are left out"
    placed = {kind: {**tree, PREFIX: loaded[kind]} if kind in loaded else tree for kind, tree in variables.items()}
    return placed, f"{len(wanted)} arrays of {path} loaded into encoder {name}{note}"


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the leaves by their paths, such as `params/stem_conv/kernel`."""
    return traverse_util.flatten_dict(variables, sep="/")


def raise_weight_mismatch(problems: dict[str, list[str]], what: str, remedy: str) -> None:
    """Raises UserError if there is any problem; the message lists the first `SHOWN` names of each kind.

    Args:
      problems: names by kind of problem.
      what: the subject of the message.
      remedy: the end of the message.

    Raises:
      UserError: there is a problem.
    """
    parts = []
    for kind, names in problems.items():
        if names:
            listed = [*names[:SHOWN], "..."] if len(names) > SHOWN else names
            parts.append(f"{len(names)} {kind} ({', '.join(listed)})")
    if parts:
        raise UserError(f"{what}: {'; '.join(parts)}; {remedy}.")
