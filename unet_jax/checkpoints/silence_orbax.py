"""Silences Orbax, so that the one line which explains an error is not lost among its log lines."""

import sys

from absl import logging as absl_logging


def silence_orbax() -> None:
    """Stops Orbax's logging, and the tracebacks that its threads print after a save has failed.

    Orbax logs each phase of each save, and also the errors that it raises. When a save fails, Orbax closes its event loop.
    Each array that is not yet written then raises a `RuntimeError` in a thread, where no caller can catch it. Python prints
    such errors through `sys.unraisablehook`, which is therefore the only place to drop them.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)
    if not isinstance(sys.unraisablehook, _DropClosedLoopErrors):
        sys.unraisablehook = _DropClosedLoopErrors(sys.unraisablehook)


class _DropClosedLoopErrors:
    """A `sys.unraisablehook` that drops "Event loop is closed" and passes every other error to the previous hook."""

    def __init__(self, previous_hook):
        self._previous_hook = previous_hook

    def __call__(self, unraisable) -> None:
        if not (unraisable.exc_type is RuntimeError and str(unraisable.exc_value) == "Event loop is closed"):
            self._previous_hook(unraisable)
