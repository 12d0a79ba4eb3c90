"""Running the project's programs one at a time, stopped with care."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks.rows import ROOT


class Programs:
    """Runs Python programs of the project one at a time, and passes a request to stop on to the one that runs, once.

    A child has a process group of its own: a Ctrl-C from the terminal would reach it twice otherwise, and a second one
    ends a training without saving.
    """

    def __init__(self):
        self.stopping = False
        self._child: subprocess.Popen | None = None
        self._told = False

    def __enter__(self):
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, *command: str, output: Path | None = None) -> int:
        """Runs `python command` in the project's root to its end; its exit status, not 0 where it was stopped.

        What it prints goes to the file `output`, where one is given.
        """
        if self.stopping:
            return 1
        with output.open("w") if output else contextlib.nullcontext() as file:
            self._child = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, process_group=0, stdout=file)
            if self.stopping:  # between the look above and the start
                self._tell()
            return self._child.wait()

    def _stop(self, number, frame):
        self.stopping = True
        self._tell()

    def _tell(self):
        if not self._told and self._child and self._child.poll() is None:
            self._told = True  # for good: no other child is started after this one
            self._child.terminate()
