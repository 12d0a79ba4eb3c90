"""Ctrl-C and SIGTERM end a run after its step, with its state saved."""

import signal
import sys
import threading


class Interrupted(Exception):
    """A signal stopped the run after its state was saved; the same command goes on from there."""


class StopSignal:
    """Sets `requested` at the first Ctrl-C or SIGTERM; a second one acts at once.

    A context manager: the handlers are those of before when it ends. Outside the main thread it changes none.
    """

    def __init__(self):
        self.requested = False

    def __enter__(self):
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._request) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        self._restore_handlers()

    def _request(self, number, frame):
        self.requested = True
        print("\nstopping after this step, then saving (once more stops at once, without)", file=sys.stderr)
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
