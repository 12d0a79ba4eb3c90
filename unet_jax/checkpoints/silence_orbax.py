"""Silences Orbax, so that the one line that says what went wrong is not lost among others."""

import sys

from absl import logging as absl_logging


def silence_orbax() -> None:
    """Stops Orbax's logging, and the tracebacks that its threads print after a save has failed.

    Orbax logs each phase of each save, and errors that it raises as well. When a save fails, its event loop is closed;
    each array that was still to be written then ends in a `RuntimeError` in a thread, where nothing can catch it. Python
    prints it through `sys.unraisablehook`, so that is the one place to drop it.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)
    if not isinstance(sys.unraisablehook, _DropClosedLoopErrors):
        sys.unraisablehook = _DropClosedLoopErrors(sys.unraisablehook)


class _DropClosedLoopErrors:
    """A `sys.unraisablehook` that drops "Event loop is closed" and passes all others to the hook before it."""

    def __init__(self, previous_hook):
        self._previous_hook = previous_hook

    def __call__(self, unraisable) -> None:
        if not (unraisable.exc_type is RuntimeError and str(unraisable.exc_value) == "Event loop is closed"):
            self._previous_hook(unraisable)
