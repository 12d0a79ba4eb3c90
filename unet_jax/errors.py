"""The one exception that means: the input is wrong, not the program."""

import contextlib


class UserError(ValueError):
    """Bad input: the message names the thing, its value and the remedy, in one line.

    `run_train.py` and `run_eval.py` print it without a traceback; in a notebook it is an ordinary `ValueError`.
    """


def fail(error: UserError) -> None:
    """Raises it: what a check does with a problem, unless it is given another `refuse` that collects and returns."""
    raise error


@contextlib.contextmanager
def refusing(refuse):
    """Gives a `UserError` of what is done inside to `refuse`, and goes on behind it where that returns."""
    try:
        yield
    except UserError as error:
        refuse(error)
