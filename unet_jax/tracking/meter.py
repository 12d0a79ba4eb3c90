"""Running sums over a run's steps: training metrics, step time, matmul utilization, memory."""

import contextlib
import math
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from unet_jax.evaluation import metrics


class Meter:
    """Adds up the metrics and the time of the steps, once since the last row of metrics.jsonl and once since the start.

    The scores are those of the training windows: the deepest head on augmented images, pooled over the steps.

    `matmul_utilization` is the FLOPs per second of the training step, divided by the FLOPs per second of a large matrix
    product. The FLOPs of the step are those that XLA counts in the compiled program; they include everything that
    `model.remat` computes again. The product is measured on the same devices, in the network's number type, at the start of
    the run and at each evaluation; the fastest product so far counts. So the value differs from the MFU (model FLOPs
    utilization) of the literature: that divides the FLOPs that the model needs, without recomputation, by the peak in the
    hardware's data sheet.

    A value above 100 % is not an error. Either other programs slowed every product that was measured, or the library of the
    device computes a convolution with fewer operations than XLA counts (such as Winograd's form in cuDNN).

    Args:
      class_names: one per output channel.
      report_classes: the classes of the mean IoU.
      batch_size: images in a step, on all devices of all processes.
    """

    def __init__(self, class_names: Sequence[str], report_classes: Sequence[str], batch_size: int):
        self._names, self._report_classes, self._batch_size = tuple(class_names), tuple(report_classes), batch_size
        self._compile_s = 0.0
        self._step_flops, self._peak_flops = 0.0, 0.0
        self._all = _Sums()
        self._window = _Sums()
        self._last: dict[str, float] = {}
        self._mark = time.perf_counter()

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Counts the time inside the context as waiting for data, which is a part of the step time."""
        begin = time.perf_counter()
        yield
        for sums in (self._all, self._window):
            sums.waited += time.perf_counter() - begin

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time inside the context (evaluation, saving, drawing) out of the step time."""
        self._add_time()
        yield
        self._mark = time.perf_counter()

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Counts the time inside the context as compile time, and starts all sums at 0 after it."""
        begin = time.perf_counter()
        yield
        self._compile_s = time.perf_counter() - begin
        # The wait for the first batch comes before the compilation. It belongs to the start of the run, not to the steps.
        self._all, self._window = _Sums(), _Sums()
        self._mark = time.perf_counter()

    def add_peak(self, step_flops: float, peak_flops: float) -> None:
        """Adds a measurement for `matmul_utilization`. The largest peak counts. Without one above 0 it is not reported.

        Args:
          step_flops: FLOPs of a step, on all local devices.
          peak_flops: FLOPs per second of a matrix product, on all local devices.
        """
        self._step_flops, self._peak_flops = step_flops, max(self._peak_flops, peak_flops)

    def add(self, step_metrics: Mapping[str, np.ndarray]) -> None:
        """Adds the metrics of one step, and the time since the last call.

        Args:
          step_metrics: the metrics that the step returns (`training/step.py`), copied to the host.
        """
        self._add_time()
        for sums in (self._all, self._window):
            sums.steps += 1
            sums.loss += float(step_metrics["loss"])
            for name in ("tp", "fp", "fn"):
                sums.counts[name] = sums.counts.get(name, 0) + step_metrics[name].astype(np.int64)
        self._last = {name: float(step_metrics[name]) for name in ("learning_rate", "grad_norm")}

    @property
    def loss(self) -> float:
        """Mean loss of the steps since the last row; of all steps right after a row."""
        sums = self._window if self._window.steps else self._all
        return sums.loss / max(sums.steps, 1)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the reported classes, of the steps since the last row; of all steps right after a row."""
        sums = self._window if self._window.steps else self._all
        return self._scores(sums)["iou_pooled/mean"] if sums.counts else math.nan

    @property
    def step_s(self) -> float:
        """Seconds per step since the start, without evaluations."""
        return self._all.seconds / max(self._all.steps, 1)

    @property
    def images_per_s(self) -> float:
        """Images per second since the start."""
        return self._batch_size / max(self.step_s, 1e-9)

    @property
    def speed(self) -> str:
        """Step time, images per second, fraction of time waiting for data, and matmul utilization since the start, as text."""
        speed = self._speed(self._all)
        text = (
            f"{1e3 * speed['step_s']:.0f} ms a step, {speed['images_per_s']:.1f} images/s, "
            f"{speed['data_wait']:.1%} waiting for data"
        )
        if "matmul_utilization" in speed:
            text += f", {speed['matmul_utilization']:.0%} matmul utilization"
        return text

    def read_window(self) -> dict[str, float]:
        """Returns the row of the steps since the last row, and starts the next row."""
        sums, self._window = self._window, _Sums()
        row = {"loss": sums.loss / max(sums.steps, 1), **self._scores(sums), **self._last}
        return row | self._speed(sums)

    def totals(self) -> dict[str, float]:
        """Returns speed, compile time (seconds) and peak memory (GiB) since the start."""
        return {**self._speed(self._all), "compile_s": self._compile_s, "peak_memory_gib": peak_memory() / 2**30}

    def describe(self) -> str:
        """Returns `totals` as a line of text."""
        totals = self.totals()
        return f"{self.speed}; compiled in {totals['compile_s']:.1f} s; peak memory {totals['peak_memory_gib']:.2f} GiB"

    def _scores(self, sums: "_Sums") -> dict[str, float]:
        summary = metrics.summarize_pooled({**sums.counts, "correct": 0, "total": 0}, self._names, self._report_classes)
        return {name: value for name, value in summary.items() if name.startswith("iou")}

    def _speed(self, sums: "_Sums") -> dict[str, float]:
        seconds = max(sums.seconds, 1e-9)
        speed = {
            "step_s": sums.seconds / max(sums.steps, 1),
            "images_per_s": sums.steps * self._batch_size / seconds,
            "data_wait": sums.waited / seconds,
        }
        if self._peak_flops:
            speed["matmul_utilization"] = sums.steps * self._step_flops / seconds / self._peak_flops
        return speed

    def _add_time(self) -> None:
        now = time.perf_counter()
        for sums in (self._all, self._window):
            sums.seconds += now - self._mark
        self._mark = now


class _Sums:
    def __init__(self) -> None:
        self.steps, self.loss, self.seconds, self.waited = 0, 0.0, 0.0, 0.0
        self.counts: dict[str, np.ndarray] = {}


def peak_memory() -> int:
    """Returns the peak memory in bytes: of the local accelerator that used most, or of this process if there is none."""
    used = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.local_devices()]
    # macOS counts in bytes, Linux in KiB.
    unit = 1 if sys.platform == "darwin" else 1024
    return max(used) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
