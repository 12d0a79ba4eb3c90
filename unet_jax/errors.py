"""The error for bad input, and how a check raises or collects it."""

import contextlib
from collections.abc import Callable, Iterator


class UserError(ValueError):
    r"""An error of the input, not of the program. Its message names the thing, its value and the remedy, in one line.

    The programs print it without a traceback; in a notebook it is an ordinary `ValueError`. Characters that would break the
    line or steer a terminal, in a name or a value, are escaped:

    >>> print(UserError("seed 'a\nb': give a number"))
    seed 'a\nb': give a number
    """

    def __init__(self, message: str = ""):
        super().__init__(printable(str(message)))


def printable(text: str) -> str:
    r"""Returns a text in one line that a terminal shows as it is.

    Characters that would break the line or steer a terminal are escaped, and so are bytes of a file's name that are not UTF-8.

    >>> print(printable("a\nb\udcfc"))
    a\nb\xfc
    """
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    # Python gives a byte 0xNN that is not UTF-8 as the character DCNN.
    byte = ord(char) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else char.encode("unicode_escape").decode()


def raise_error(error: UserError) -> None:
    """Raises `error`. It is the default `on_error` of a check; another one may collect the error and return."""
    raise error


@contextlib.contextmanager
def collect_errors(on_error: Callable[[UserError], None]) -> Iterator[None]:
    """Passes a `UserError` that is raised inside the context to `on_error`.

    Where `on_error` returns, the program goes on after the context:

    >>> errors = []
    >>> with collect_errors(errors.append):
    ...     raise UserError("seed -1: give a whole number of at least 0")
    >>> print(*errors)
    seed -1: give a whole number of at least 0
    """
    try:
        yield
    except UserError as error:
        on_error(error)
