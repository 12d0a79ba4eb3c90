"""The progress bar of a training run."""

import sys

from tqdm import tqdm

from unet_jax.runtime import processes
from unet_jax.tracking.meter import Meter


class Progress:
    """Shows a bar with step, loss, mean IoU, speed and time left, on process 0.

    Args:
      start_step: the step that the run goes on from.
      num_steps: the run's last step.
    """

    def __init__(self, start_step: int, num_steps: int):
        self._bar = tqdm(
            total=num_steps,
            initial=start_step,
            disable=processes.process_index() > 0,
            dynamic_ncols=True,
            # Seconds between two updates; a log file needs fewer lines.
            mininterval=0.5 if sys.stderr.isatty() else 10,
            bar_format="step {n_fmt}/{total_fmt} |{bar}| {desc}",
        )

    def update(self, meter: Meter) -> None:
        """Advances the bar by one step."""
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
            # Shown at once, whatever the interval: training has begun.
            self._bar.refresh()

    def print(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.write(text)

    def close(self) -> None:
        """Stops updating the bar and leaves it on the screen."""
        self._bar.close()
