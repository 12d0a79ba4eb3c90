"""The exception for bad input, and what a check does with one."""

import contextlib


class UserError(ValueError):
    """Says that the input is wrong, not the program; the message names the thing, its value and the remedy, in one line.

    The programs print it without a traceback; in a notebook it is an ordinary `ValueError`.
    """


def raise_error(error: UserError) -> None:
    """Raises `error`: the default `on_error` of a check; another one may collect the error and return."""
    raise error


@contextlib.contextmanager
def collect_errors(on_error):
    """Passes a `UserError` raised inside the context to `on_error`; goes on after the context where that returns."""
    try:
        yield
    except UserError as error:
        on_error(error)
