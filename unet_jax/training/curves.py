"""WORKDIR/curves.png, of a run that goes on."""

import time

from etils.epath import Path

from unet_jax import parallel
from unet_jax.evaluation import report
from unet_jax.training.writer import read_metrics

EVERY_S = 60  # between two drawings, which take about half a second each; evaluations and the end are drawn besides


class Curves:
    """Draws the curves of the run in `workdir` from its rows; of several processes the first does."""

    def __init__(self, workdir: Path):
        self._workdir, self._drawn = workdir, time.monotonic()

    def draw_if_due(self) -> None:
        """Draws them if the last time is `EVERY_S` ago."""
        if time.monotonic() - self._drawn > EVERY_S:
            self.draw()

    def draw(self) -> None:
        """As far as the run came: one that ends before its first record has none, and its own error is the one to tell."""
        rows = read_metrics(self._workdir / "metrics.jsonl")
        if rows and parallel.process_index() == 0:
            report.curves(rows, self._workdir / "curves.png")
        self._drawn = time.monotonic()
