"""Writes JSON files in one move, so that a file is whole whenever it exists, and reads them."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage import paths
from unet_jax.storage.write_errors import first_line, translate_bucket_error


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


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """Reads a file that holds a JSON object.

    Args:
      path: the file.
      remedy: the end of the message.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the file cannot be read, or holds something else: a crash of the machine may leave it empty or cut off.
    """
    try:
        value = json.loads(paths.read_file(path))
    except (ValueError, RecursionError) as error:
        # Not UTF-8 is a ValueError too.
        raise UserError(f"{path} is empty, cut off or no JSON ({first_line(error)}); {remedy}") from error
    except Exception as error:
        if bucket_error := translate_bucket_error(error):
            raise UserError(f"{path} cannot be read: {bucket_error}") from error
        if isinstance(error, FileNotFoundError) or not isinstance(error, OSError):
            raise
        raise UserError(f"{path} cannot be read ({error.strerror or error}); {remedy}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}, not an object with keys; {remedy}")
    return value


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
    """Returns a value as configs hold it: lists become tuples, mappings dicts, and NumPy's scalars Python's.

    >>> tuples({"size": [2, np.int64(3)]})
    {'size': (2, 3)}
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value
