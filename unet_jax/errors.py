"""The one exception that means: the input is wrong, not the program."""

import contextlib


class UserError(ValueError):
    """Bad input: the message names the thing, its value and the remedy, in one line.

    `run_train.py` and `run_eval.py` print it without a traceback; in a notebook it is an ordinary `ValueError`.
    """


def raise_error(error: UserError) -> None:
    """Raises it: what a check does with a problem, unless it is given another `on_error` that collects and returns."""
    raise error


@contextlib.contextmanager
def collect_errors(on_error):
    """Gives a `UserError` of what is done inside to `on_error`, and goes on behind it where that returns."""
    try:
        yield
    except UserError as error:
        on_error(error)
