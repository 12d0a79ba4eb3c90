"""What the steps of a run report, added up, and where the time goes."""

import contextlib
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from unet_jax.evaluation import metrics


class Meter:
    """Adds up what the steps report, since the last row and since the start, and where the time goes.

    Scores of the training windows are pooled over the steps since the last row, of the deepest head, augmented.
    """

    def __init__(self, class_names: Sequence[str], report_classes: Sequence[str], batch_size: int):
        self._names, self._report_classes, self._batch_size = tuple(class_names), tuple(report_classes), batch_size
        self._compile_s = 0.0
        self._flops, self._roof = 0.0, 0.0
        self._all = _Sums()
        self._window = _Sums()
        self._last: dict = {}
        self._mark = time.perf_counter()

    @contextlib.contextmanager
    def waiting_for_data(self):
        """Around the wait for the next batch."""
        begin = time.perf_counter()
        yield
        for sums in (self._all, self._window):
            sums.waited += time.perf_counter() - begin

    @contextlib.contextmanager
    def paused(self):
        """Around what is not training (evaluation, saving): it does not count as step time."""
        self._tick()
        yield
        self._mark = time.perf_counter()

    @contextlib.contextmanager
    def compiling(self):
        """Around the compilation of the step."""
        begin = time.perf_counter()
        yield
        self._compile_s = time.perf_counter() - begin
        self._all, self._window = _Sums(), _Sums()  # the wait for the first batch is start-up, too
        self._mark = time.perf_counter()

    def set_roof(self, flops: float, roof: float) -> None:
        """FLOPs of a step, and FLOPs a second of a matrix product, both on all devices: for `matmul_utilization`."""
        self._flops, self._roof = flops, roof

    def add(self, step_metrics: Mapping[str, np.ndarray]) -> None:
        """Counts one step that is done; host values, as of `training/step.py`."""
        self._tick()
        for sums in (self._all, self._window):
            sums.steps += 1
            sums.loss += float(step_metrics["loss"])
            for name in ("tp", "fp", "fn"):
                sums.counts[name] = sums.counts.get(name, 0) + step_metrics[name].astype(np.int64)
        self._last = {name: float(step_metrics[name]) for name in ("learning_rate", "grad_norm")}

    @property
    def loss(self) -> float:
        """Mean over the steps since the last row (over all, right after one)."""
        sums = self._window if self._window.steps else self._all
        return sums.loss / max(sums.steps, 1)

    @property
    def mean_iou(self) -> float:
        """Over the reported classes, of the steps since the last row (of all, right after one)."""
        sums = self._window if self._window.steps else self._all
        return self._scores(sums)["iou_pooled/mean"] if sums.counts else math.nan

    @property
    def step_s(self) -> float:
        """Seconds a step, evaluations left out, since this start."""
        return self._all.seconds / max(self._all.steps, 1)

    @property
    def images_per_s(self) -> float:
        """Since this start."""
        return self._batch_size / max(self.step_s, 1e-9)

    @property
    def speed(self) -> str:
        """Since this start: step time, wait for data and share of the roof, for the eye."""
        now = self._speed(self._all)
        share = f", {now['matmul_utilization']:.0%} of the matmul roof" if "matmul_utilization" in now else ""
        return (
            f"{1e3 * now['step_s']:.0f} ms a step, {now['images_per_s']:.1f} images/s, "
            f"{now['data_wait']:.1%} waiting for data{share}"
        )

    def read_window(self) -> dict:
        """The row of the steps since the last row; starts the next one."""
        sums, self._window = self._window, _Sums()
        row = {"loss": sums.loss / max(sums.steps, 1), **self._scores(sums), **self._last}
        return row | self._speed(sums)

    def totals(self) -> dict:
        """Speed, compile time and peak memory since this start."""
        return {**self._speed(self._all), "compile_s": self._compile_s, "peak_memory_gib": peak_memory() / 2**30}

    def describe(self) -> str:
        """`totals` as a line."""
        t = self.totals()
        return f"{self.speed}; compiled in {t['compile_s']:.1f} s; peak memory {t['peak_memory_gib']:.2f} GiB"

    def _scores(self, sums) -> dict:
        named = metrics.summarize_pooled({**sums.counts, "correct": 0, "total": 0}, self._names, self._report_classes)
        return {name: value for name, value in named.items() if name.startswith("iou")}

    def _speed(self, sums) -> dict:
        seconds = max(sums.seconds, 1e-9)
        speed = {
            "step_s": sums.seconds / max(sums.steps, 1),
            "images_per_s": sums.steps * self._batch_size / seconds,
            "data_wait": sums.waited / seconds,
        }
        return speed | ({"matmul_utilization": sums.steps * self._flops / seconds / self._roof} if self._roof else {})

    def _tick(self) -> None:
        now = time.perf_counter()
        for sums in (self._all, self._window):
            sums.seconds += now - self._mark
        self._mark = now


class _Sums:
    def __init__(self):
        self.steps, self.loss, self.seconds, self.waited = 0, 0.0, 0.0, 0.0
        self.counts: dict = {}


def peak_memory() -> int:
    """Peak bytes in use: the most loaded local accelerator's, or this process's resident memory where there is none."""
    used = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.local_devices()]
    unit = 1 if sys.platform == "darwin" else 1024
    return max(used) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
