"""Traces of a few training steps, for XProf and TensorBoard: `--profile_steps=10:15`."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.runtime import processes
from unet_jax.storage import paths
from unet_jax.storage.write_errors import report_write_errors
from unet_jax.tracking.profile_steps import read_steps


class Profile:
    """Traces some steps of a run, on process 0.

    Args:
      steps: "FIRST:LAST", both included, counted from 1; "" traces nothing.

    Raises:
      UserError: `steps` does not have that form.
    """

    def __init__(self, steps: str = ""):
        self._first, self._last = read_steps(steps)
        self._folder: Path | None = None
        self._tracing, self._open_folder = False, contextlib.ExitStack()

    def prepare(self, workdir: Path, start_step: int, num_steps: int, print_line: Callable[[str], None]) -> None:
        """Compares the steps to trace with the steps of the run.

        A run that resumes at or after the first of these steps traces nothing, so that the same command can resume a run.

        Args:
          workdir: the run's folder; the trace is written into its folder `profile`.
          start_step: the step that the run goes on from.
          num_steps: the run's last step.
          print_line: prints a message.

        Raises:
          UserError: the run has fewer steps than LAST, or the folder cannot be made.
        """
        self._folder, self._print_line = workdir / "profile", print_line
        steps = f"--profile_steps={self._first}:{self._last}"
        if self._last > num_steps:
            raise UserError(f"{steps}: the run has {num_steps} steps; choose steps from 1 to {num_steps}")
        if 0 < self._first <= start_step:
            print_line(f"{steps}: the run is at step {start_step} already; no trace is written")
            self._first = self._last = 0
        if self._first and processes.process_index() == 0:
            with report_write_errors():
                self._folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Starts the trace before the first traced step, and labels each step; the caller dispatches the step inside."""
        if step == self._first and processes.process_index() == 0:
            options = jax.profiler.ProfileOptions()
            # Events of Python calls would hide the work of the devices.
            options.python_tracer_level = 0
            folder = self._open_folder.enter_context(paths.via_local_folder(self._folder))
            jax.profiler.start_trace(folder, profiler_options=options)
            self._tracing = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def after(self, step: int, outputs: Any) -> None:
        """Ends the trace after its last step, when the devices have computed that step's `outputs` (a tree of arrays)."""
        if self._tracing and step >= self._last:
            jax.block_until_ready(outputs)
            self.close()

    def close(self) -> None:
        """Ends the trace if it has not ended yet."""
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
            self._open_folder.close()
            self._print_line(
                f"The trace of the steps from {self._first} is in {self._folder}. To see it: pip install xprof, then "
                f"xprof --logdir={self._folder} (or tensorboard with the plugin tensorboard-plugin-profile)."
            )
