"""Ends a run after its current step on Ctrl-C or SIGTERM, with its state saved."""

import signal
import sys
import threading


class Interrupted(Exception):
    """Raised where a signal stopped the run after its state was saved; the same command resumes it."""


class StopSignal:
    """A context in which the first Ctrl-C or SIGTERM sets `requested`; a second one acts at once.

    At its end the former handlers are set again. Outside the main thread it changes no handler.

    Attributes:
      requested: True after the first signal.
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
        print("\nstopping after this step, then saving; a second signal stops at once, without saving", file=sys.stderr)
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
