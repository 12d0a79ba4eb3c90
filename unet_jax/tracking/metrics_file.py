"""`metrics.jsonl`: the metrics of a run, one JSON object a line."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.runtime import processes
from unet_jax.storage import json_file, paths
from unet_jax.storage.paths import PathLike
from unet_jax.storage.write_errors import report_write_errors


class MetricWriter:
    """Appends rows `{"step": ..., "split": ..., name: value, ...}` to `metrics.jsonl`, on process 0.

    Args:
      path: the file.
      start_step: the step that the run goes on from. Rows of later steps are dropped, so that no step is in the file twice.
        A run that was killed after its last checkpoint leaves such rows. What is no row is dropped too, with a warning.
      also: a function that gets the arguments of each `write`.
      check: is called before each row; what it raises stops the write.
    """

    def __init__(
        self,
        path: PathLike,
        start_step: int = 0,
        also: Callable[[int, str, Mapping[str, Any]], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ):
        self.path, self._also, self._check = Path(path), also, check
        if processes.process_index():
            return
        lines = _lines(self.path)
        rows = [row for row in map(_parse, lines) if row]
        broken = [number for number, line in enumerate(lines, 1) if line and not _parse(line)]
        if broken:
            print(
                f"warning: {self.path}: dropped {len(broken)} of its lines, which a crash has cut off or which are no rows "
                f"(line {', '.join(map(str, broken[:5]))}{', ...' if len(broken) > 5 else ''})"
            )
        kept = "".join(_line(row) for row in rows if row["step"] <= start_step)
        # The file differs if it holds later rows, or if its last line was cut off.
        if "\n".join(lines) != kept:
            with report_write_errors():
                # In one move, so that a crash loses no row.
                paths.write_whole(self.path, kept.encode())

    def write(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Appends one row. The row is in the file when this returns. NaN and infinities become null.

        Args:
          step: of the row.
          split: such as "train" or "val".
          values: numbers by name.

        Raises:
          UserError: the file cannot be written.
        """
        if processes.process_index():
            return
        self._check()
        with report_write_errors():
            paths.append(self.path, _line({"step": step, "split": split, **values}))
        if self._also:
            self._also(step, split, values)


def read_metrics(path: PathLike) -> list[dict[str, Any]]:
    """Reads the rows of a `metrics.jsonl`, in order. Leaves out what is no row, such as a line that a crash has cut off."""
    return [row for row in map(_parse, _lines(Path(path))) if row]


def _lines(path: Path) -> list[str]:
    try:
        # A crash of the machine may leave bytes that are no text.
        return paths.read_if_there(path, errors="replace").split("\n")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}); make it readable, or move it away"
        ) from error


def _parse(line: str) -> dict[str, Any] | None:
    """Returns the row of a line, or None for a line that is none: cut off, empty, or not as `MetricWriter` writes it."""
    try:
        # `_line` writes ASCII alone: other characters are damage, even within a name.
        row: Any = json.loads(line) if line.isascii() else None
    except (ValueError, RecursionError):
        return None
    right = isinstance(row, dict) and type(row.get("step")) is int and isinstance(row.get("split"), str)
    # A number that no row has, such as NaN or one of 1,000 digits, would be an error where the rows are drawn.
    right = right and all(_is_finite(value) for key, value in row.items() if key != "split")
    return row if right else None


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (type(value) is int and abs(value) < 2**63)


def _line(row: dict) -> str:
    return json.dumps(json_file.plain(row)) + "\n"
