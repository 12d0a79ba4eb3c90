"""Traces of a few training steps, for XProf and TensorBoard: `--profile_steps=10:15`."""

import contextlib
import re
from collections.abc import Callable

import jax
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.runtime import processes
from unet_jax.storage import paths


class Profile:
    """Traces some steps of a run, on process 0.

    Args:
      steps: "FIRST:LAST", both included, counted from 1; "" traces nothing.

    Raises:
      UserError: `steps` does not have that form.
    """

    def __init__(self, steps: str = ""):
        self._first = self._last = 0
        self._folder: Path | None = None
        self._tracing, self._open_folder = False, contextlib.ExitStack()
        if steps:
            match = re.fullmatch(r"(\d+):(\d+)", steps)
            self._first, self._last = map(int, match.groups()) if match else (0, 0)
            if not 1 <= self._first <= self._last:
                raise UserError(
                    f"--profile_steps={steps}: give FIRST:LAST, whole numbers from 1 on, e.g. 10:15 for steps 10 to 15"
                )

    def prepare(self, workdir: Path, start_step: int, num_steps: int, print_line: Callable[[str], None]) -> None:
        """Checks the steps against the run's.

        A run that is resumed at or after the first of the steps traces nothing, so the same command can resume it.

        Args:
          workdir: the trace goes into its folder `profile`.
          start_step: the step that the run goes on from.
          num_steps: the run's last step.
          print_line: is called with messages.

        Raises:
          UserError: the run has fewer steps.
        """
        self._folder, self._print_line = workdir / "profile", print_line
        steps = f"--profile_steps={self._first}:{self._last}"
        if self._last > num_steps:
            raise UserError(f"{steps}: the run has {num_steps} steps; choose among them")
        if 0 < self._first <= start_step:
            print_line(f"{steps}: the run is at step {start_step} already; no trace is made")
            self._first = self._last = 0

    @contextlib.contextmanager
    def around(self, step: int):
        """Is entered around the dispatch of a step: starts the trace before the first traced step, and labels each step."""
        if step == self._first and processes.process_index() == 0:
            options = jax.profiler.ProfileOptions()
            # An event for each call of Python would bury the devices' work.
            options.python_tracer_level = 0
            folder = self._open_folder.enter_context(paths.via_local_folder(self._folder))
            jax.profiler.start_trace(folder, profiler_options=options)
            self._tracing = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def after(self, step: int, outputs) -> None:
        """Ends the trace after its last step, when the devices have computed `outputs` of that step."""
        if self._tracing and step >= self._last:
            jax.block_until_ready(outputs)
            self.close()

    def close(self) -> None:
        """Ends a trace that is still going on."""
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
            self._open_folder.close()
            self._print_line(
                f"trace of the steps from {self._first} on in {self._folder}; to see it: pip install xprof, then "
                f"xprof --logdir={self._folder} (or tensorboard with the plugin tensorboard-plugin-profile)"
            )
