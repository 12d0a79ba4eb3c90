"""Runs the project's programs one at a time, so that a request to stop reaches each of them once."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType, TracebackType

from benchmarks.rows import ROOT


class Programs:
    """A context that runs Python programs of the project one at a time.

    It passes the first Ctrl-C or SIGTERM on to the program that runs, and starts no other one. A program runs in a new
    process group: otherwise a Ctrl-C in the terminal would reach it a second time, and a training that gets two ends
    without saving.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._child: subprocess.Popen | None = None
        self._signalled = False

    def __enter__(self) -> "Programs":
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, *command: str | Path, output: Path | None = None) -> int:
        """Runs `python COMMAND` in the project's folder to its end.

        Args:
          command: a script or `-m MODULE`, and its arguments.
          output: the file for what the program prints; the terminal if it is None.

        Returns:
          The exit status; not 0 if the program failed or was stopped.
        """
        if self.stopping:
            return 1
        with output.open("w") if output else contextlib.nullcontext() as file:
            self._child = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, process_group=0, stdout=file)
            # A signal may have come between the check above and the start.
            if self.stopping:
                self._terminate()
            return self._child.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        self._terminate()

    def _terminate(self) -> None:
        if not self._signalled and self._child and self._child.poll() is None:
            # Never reset: no other program is started after this one.
            self._signalled = True
            self._child.terminate()
