"""JSON files that are whole whenever they are there."""

import json
import math
from collections.abc import Mapping

import numpy as np
from etils.epath import Path

from unet_jax.storage import paths


def write(path: str | Path, value, indent: int | None = None) -> None:
    """Writes a JSON-able value, in one move: a reader sees the file before or the one after, a crash leaves no half.

    Makes the folder. Raises OSError, and ValueError for NaN or Inf, which JSON has not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write_whole(path, (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode())


def plain(value):
    """The value as JSON can hold it: NumPy's scalars become Python's, tuples lists, NaN and Inf null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
