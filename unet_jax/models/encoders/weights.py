"""Files of an encoder's weights: NumPy's .npz, one float32 array per variable by its path (`params/stem_conv/kernel`).

Beside them stands `encoder`, the name in `ENCODERS`. `unet_jax.models.from_torch` writes such files; nothing in them is
ever unpickled.
"""

import hashlib
import uuid
import zipfile
from pathlib import Path

import numpy as np
from flax import traverse_util

from unet_jax.errors import UserError
from unet_jax.models.encoders.registry import ENCODERS

PREFIX = "encoder"  # the submodule of a network that is its encoder
SHOWN = 20  # names of a kind of problem, at most


def write(path: Path, name: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays of the encoder called `name`, in one move; makes the folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    working = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with working.open("wb") as file:
            np.savez(file, encoder=np.array(name), **arrays)
        working.replace(path)
    finally:
        working.unlink(missing_ok=True)


def read(path: str | Path) -> tuple[str, dict[str, np.ndarray]]:
    """The encoder's name and its arrays by path; UserError where the file is not one of ours."""
    arrays = read_npz(path, "model.encoder_weights")
    if "encoder" not in arrays:
        raise UserError(f"{path} was not written by unet_jax.models.from_torch: convert torchvision's weights with it.")
    return str(arrays.pop("encoder")), arrays


def read_npz(path: str | Path, what: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; UserError, `what` being the flag or key that gave the path."""
    try:
        with np.load(Path(path).expanduser(), allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        why = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{what}={path} cannot be read as .npz ({why}); give a file of arrays.") from error


def digest(path: str | Path) -> str:
    """sha256 of a file."""
    with Path(path).expanduser().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_encoder_weights(variables: dict, path: str | Path, name: str) -> tuple[dict, str]:
    """A network's variables with those of its encoder from a file, and a line that tells what was done.

    Where the network reads one channel and the file three, the first kernel is summed over its channels: grey images
    give what they would as three equal channels. Arrays of levels that the network does not have stay out.

    Args:
      variables: of a network with an encoder, `params` and, where it normalises, `batch_stats`.
      path: of a file of ours.
      name: of the network's encoder.

    Raises:
      UserError: the file cannot be read, is of another encoder, or lacks arrays or has them in other shapes.
    """
    encoder, arrays = read(path)
    if encoder != name:
        raise UserError(f"{path} holds weights of {encoder}, but model.encoder is {name!r}: give a file of {name}.")
    wanted = flatten({kind: tree[PREFIX] for kind, tree in variables.items() if PREFIX in tree})
    first, said = f"params/{ENCODERS[name](parent=None).FIRST}/kernel", ""
    if first in arrays and first in wanted and arrays[first].ndim == wanted[first].ndim:
        channels, given = wanted[first].shape[2], arrays[first].shape[2]
        if channels == 1 and given == 3:
            arrays[first] = arrays[first].sum(axis=2, keepdims=True)
            said = "; the images are grey, so its first kernel was summed over red, green and blue"
        elif channels != given:
            raise UserError(
                f"{path} reads images of {given} channels, the data have {channels}: give RGB or grey images, or "
                "start without model.encoder_weights."
            )
    there = [key for key in wanted if key in arrays]
    problems = {
        "missing": [key for key in wanted if key not in arrays],
        "of another shape": [
            f"{key} {list(arrays[key].shape)} for {list(wanted[key].shape)}"
            for key in there
            if arrays[key].shape != wanted[key].shape
        ],
        "with NaN or Inf": [key for key in there if not np.isfinite(arrays[key]).all()],
    }
    refuse(problems, f"{path} does not fit encoder {name}", "convert the weights again with unet_jax.models.from_torch")
    loaded = traverse_util.unflatten_dict({key: arrays[key].astype(np.float32) for key in wanted}, sep="/")
    unused = len(arrays) - len(wanted)
    said += f"; {unused} of levels that the network does not have stay out" if unused else ""
    placed = {kind: {**tree, PREFIX: loaded[kind]} if kind in loaded else tree for kind, tree in variables.items()}
    return placed, f"{len(wanted)} arrays of {path} loaded into encoder {name}{said}"


def flatten(variables: dict) -> dict:
    """Leaves by path, with slashes."""
    return traverse_util.flatten_dict(variables, sep="/")


def refuse(problems: dict[str, list[str]], what: str, remedy: str) -> None:
    """Raises UserError where there is a problem, with all of them, by kind; of a network of another kind the first few."""
    told = [
        f"{len(names)} {kind} ({', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)})"
        for kind, names in problems.items()
        if names
    ]
    if told:
        raise UserError(f"{what}: {'; '.join(told)}; {remedy}.")
