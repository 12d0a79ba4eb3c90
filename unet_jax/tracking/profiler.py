"""A trace of some steps of a run, for XProf and TensorBoard: `--profile_steps=10:15`."""

import contextlib
import re
from collections.abc import Callable

import jax
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.runtime import parallel
from unet_jax.storage import paths


class Profile:
    """Traces the steps `FIRST:LAST` of a run, both included and counted from 1; traces nothing for "".

    Raises UserError where `steps` is not of that form.
    """

    def __init__(self, steps: str = ""):
        self._first = self._last = 0
        self._folder: Path | None = None
        self._tracing, self._filling = False, contextlib.ExitStack()
        if steps:
            found = re.fullmatch(r"(\d+):(\d+)", steps)
            self._first, self._last = map(int, found.groups()) if found else (0, 0)
            if not 1 <= self._first <= self._last:
                raise UserError(
                    f"--profile_steps={steps}: give FIRST:LAST, whole numbers from 1 on, e.g. 10:15 for steps 10 to 15"
                )

    def prepare(self, workdir: Path, start_step: int, num_steps: int, tell: Callable[[str], None]) -> None:
        """Where the trace goes, `workdir`/profile, and whom to tell; UserError if the run has not so many steps.

        A run that goes on from one of the steps, or from behind them, traces nothing: the same command must go on.
        """
        self._folder, self._tell = workdir / "profile", tell
        steps = f"--profile_steps={self._first}:{self._last}"
        if self._last > num_steps:
            raise UserError(f"{steps}: the run has {num_steps} steps; choose among them")
        if 0 < self._first <= start_step:
            tell(f"{steps}: the run is at step {start_step} already; no trace is made")
            self._first = self._last = 0

    @contextlib.contextmanager
    def around(self, step: int):
        """Around the start of a step on the devices: begins the trace before the first one, and marks each."""
        if step == self._first and not parallel.process_index():  # of several processes the first
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # a line for each call of Python would bury the devices' work
            folder = self._filling.enter_context(paths.filling(self._folder))
            jax.profiler.start_trace(folder, profiler_options=options)
            self._tracing = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def after(self, step: int, outputs) -> None:
        """Ends the trace after its last step, once `outputs` of that step are there."""
        if self._tracing and step >= self._last:
            jax.block_until_ready(outputs)
            self.close()

    def close(self) -> None:
        """Ends the trace of a run that stops within it."""
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
            self._filling.close()
            self._tell(
                f"trace of the steps from {self._first} on in {self._folder}; to see it: pip install xprof, then "
                f"xprof --logdir={self._folder} (or tensorboard with the plugin tensorboard-plugin-profile)"
            )
