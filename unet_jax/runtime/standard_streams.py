"""Lets a program run, and end in one line, where its input or output is closed, full, or read by nobody any more."""

import contextlib
import os
import sys
from collections.abc import Iterator

# As of a program that SIGPIPE ends.
BROKEN_PIPE = 141


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Opens streams that are missing; ends the program with one line on stderr where its output is lost.

    The status is then that of SIGPIPE where nobody reads the output any more (`| head -1`), and 2 where a disk is full. An
    error of another cause, and a status other than 0, stay as they are.
    """
    _open_missing()
    try:
        yield
    except SystemExit as end:
        lost = _lost_output("")
        if end.code or not lost:
            raise
    except OSError:
        # What has failed may be a file; an empty line asks the streams.
        lost = _lost_output("\n")
        if not lost:
            raise
    else:
        lost = _lost_output("")
    if lost:
        print(f"error: the output cannot be written ({lost.strerror}); the program has ended there", file=sys.stderr)
        sys.exit(BROKEN_PIPE if isinstance(lost, BrokenPipeError) else 2)


def _open_missing() -> None:
    """Opens the null device for each of stdin, stdout and stderr that the caller has closed (`2>&-`).

    Otherwise the next file that is opened gets its number, and what a library writes to stderr lands in that file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False, errors="backslashreplace"))


def _lost_output(text: str) -> OSError | None:
    """Prints `text` on stdout and stderr; returns the error of one that takes nothing any more, None where both take it.

    Such a stream is led to the null device, so that the end of the program does not fail on it.
    """
    lost = None
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.write(text)
            stream.flush()
        except OSError as error:
            lost = lost or error
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, number)
                os.close(null)
    return lost
