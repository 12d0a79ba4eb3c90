"""JSON files that are whole whenever they are there."""

import json
import math
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write(path: str | Path, value, indent: int | None = None) -> None:
    """Writes a JSON-able value, in one move: a reader sees the file before or the one after, a crash leaves no half.

    Makes the folder. Raises OSError, and ValueError for NaN or Inf, which JSON has not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    working = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # process ids repeat between machines
    try:
        working.write_text(json.dumps(value, indent=indent, allow_nan=False) + "\n", encoding="utf-8")
        working.replace(path)
    finally:
        working.unlink(missing_ok=True)


def plain(value):
    """The value as JSON can hold it: NumPy's scalars become Python's, tuples lists, NaN and Inf null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
