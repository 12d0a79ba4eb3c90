"""The bar on the screen while a run trains."""

import sys

from tqdm import tqdm

from unet_jax.runtime import parallel
from unet_jax.tracking.meter import Meter


class Progress:
    """A progress bar: step, loss, mean IoU, speed, time left."""

    def __init__(self, start_step: int, num_steps: int):
        self._bar = tqdm(
            total=num_steps,
            initial=start_step,
            disable=parallel.process_index() > 0,  # one bar for all processes
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 10,  # a log file needs no line for each step
            bar_format="step {n_fmt}/{total_fmt} |{bar}| {desc}",
        )

    def update(self, meter: Meter) -> None:
        """One step is done."""
        if self._bar.disable:
            return
        first = self._bar.n == self._bar.initial
        left = (self._bar.total - self._bar.n - 1) * meter.step_s
        self._bar.set_description_str(
            f"loss {meter.loss:.4f}, mean IoU {meter.mean_iou:.3f}, {meter.speed}, {tqdm.format_interval(left)} left",
            refresh=False,
        )
        self._bar.update()
        if first:
            self._bar.refresh()  # whatever the interval: from here on it trains

    def print(self, text: str) -> None:
        """A line above the bar."""
        self._bar.write(text)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()
