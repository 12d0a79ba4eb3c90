"""`metrics.jsonl`: the metrics of a run, one JSON object a line."""

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from etils.epath import Path

from unet_jax.runtime import processes
from unet_jax.storage import json_file, paths
from unet_jax.storage.paths import PathLike
from unet_jax.storage.write_errors import report_write_errors


class MetricWriter:
    """Appends rows `{"step": ..., "split": ..., name: value, ...}` to `metrics.jsonl`, on process 0.

    Args:
      path: the file.
      start_step: the step that the run goes on from. Rows of later steps are dropped, so that no step is in the file twice.
        A run that was killed after its last checkpoint leaves such rows.
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
        kept = "".join(_line(row) for row in read_metrics(self.path) if row["step"] <= start_step)
        # The file differs if it holds later rows, or if its last line was cut off.
        if paths.read_if_there(self.path) != kept:
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
    """Reads the rows of a `metrics.jsonl`, in order. Leaves out a line that a crash has cut off."""
    path = Path(path)
    rows = []
    for line in paths.read_if_there(path).splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def _line(row: dict) -> str:
    return json.dumps(json_file.plain(row)) + "\n"
