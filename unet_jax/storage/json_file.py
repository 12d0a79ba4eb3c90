"""Writes JSON files in one move, so that a file is whole whenever it exists."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.storage import paths


def write(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Writes a JSON-able value in one move. A reader sees the old file or the new one; a crash never leaves half a file.

    Args:
      path: the file; its folder is made if it does not exist.
      value: what JSON can hold. `plain` turns NumPy scalars, tuples, NaN and Inf into such a value.
      indent: spaces of each level; None: one line.

    Raises:
      OSError: the file cannot be written.
      ValueError: the value holds NaN or Inf, which JSON does not have.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write_whole(path, (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode())


def plain(value: Any) -> Any:
    """Returns a value that JSON can hold.

    NumPy's scalars become Python's, tuples become lists, NaN and Inf become None (null in JSON).

    >>> plain({"iou": np.float64(0.5), "loss": float("nan"), "size": (2, 3)})
    {'iou': 0.5, 'loss': None, 'size': [2, 3]}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tuples(value: Any) -> Any:
    """Returns a value that was read from JSON with its lists as tuples, as configs hold them."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value
