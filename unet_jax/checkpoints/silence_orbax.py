"""Orbax without its noise, so that the one line that says what went wrong is not lost in it."""

import sys

from absl import logging as absl_logging


def silence_orbax() -> None:
    """Keeps from the screen what Orbax logs (each phase of each save, and errors that it raises as well) and what its
    threads say to an event loop that an error has closed: a traceback for each array that was still to be written.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)
    if not isinstance(sys.unraisablehook, _ButClosedLoops):
        sys.unraisablehook = _ButClosedLoops(sys.unraisablehook)


class _ButClosedLoops:
    """A `sys.unraisablehook` that passes on everything else to the one before it."""

    def __init__(self, before):
        self._before = before

    def __call__(self, unraisable) -> None:
        if not (unraisable.exc_type is RuntimeError and str(unraisable.exc_value) == "Event loop is closed"):
            self._before(unraisable)
