"""`metrics.jsonl`: the metrics of a run, one JSON object a line."""

import contextlib
import json
from collections.abc import Callable, Mapping

from etils.epath import Path

from unet_jax.runtime import processes
from unet_jax.storage import json_file, paths
from unet_jax.storage.write_errors import report_write_errors


class MetricWriter:
    """Appends rows `{"step": ..., "split": ..., name: value, ...}` to `metrics.jsonl`, on process 0.

    Args:
      path: of the file.
      start_step: the step that the run goes on from. Rows of later steps are dropped, so that no step is there twice; a run
        that was killed after its last checkpoint leaves such rows.
      also: is called with the arguments of each `write`.
    """

    def __init__(self, path, start_step: int = 0, also: Callable[[int, str, Mapping], None] | None = None):
        self.path, self._also = Path(path), also
        if processes.process_index():
            return
        kept = "".join(_line(row) for row in read_metrics(self.path) if row["step"] <= start_step)
        # The file differs where it holds later rows, or ends in a line that was cut off.
        if paths.read_if_there(self.path) != kept:
            # Written whole: a crash loses no row.
            paths.write_whole(self.path, kept.encode())

    def write(self, step: int, split: str, values: Mapping) -> None:
        """Appends one row, which is in the file when this returns. NaN and infinities become null."""
        if processes.process_index():
            return
        with report_write_errors():
            paths.append(self.path, _line({"step": step, "split": split, **values}))
        if self._also:
            self._also(step, split, values)


def read_metrics(path) -> list[dict]:
    """Reads the rows of a `metrics.jsonl`, in order, without a last line that a crash cut off."""
    path = Path(path)
    rows = []
    for line in paths.read_if_there(path).splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def _line(row: dict) -> str:
    return json.dumps(json_file.plain(row)) + "\n"
