"""What became of one input, and the table of all of them. A kind of input is a module next to this one."""

import contextlib
import platform
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any, NamedTuple

from unet_jax.errors import UserError

# The first two are as they should be.
ACCEPTED, REFUSED, TRACEBACK, HANG, WRONG = OUTCOMES = ("accepted", "refused", "traceback", "hang", "wrong")
FAULTS = (TRACEBACK, HANG, WRONG)
# Libraries whose versions may change an outcome.
LIBRARIES = (
    "jax",
    "ml-collections",
    "orbax-checkpoint",
    "imagecodecs",
    "simplejpeg",
    "tifffile",
    "opencv-python-headless",
    "pillow",
)


class Outcome(NamedTuple):
    """What became of one input.

    Attributes:
      kind: the row of the table that counts it, e.g. "config: optim" or "images: PNG".
      outcome: one of `OUTCOMES`.
      detail: the input in a few words, and the message or the end of the traceback.
    """

    kind: str
    outcome: str
    detail: str


class Hang(BaseException):
    """The time is over. No `except Exception` of the code under test takes it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises `Hang` in the context after some seconds; code of C is interrupted when it returns."""

    def stop(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(
    kind: str,
    given: str,
    use: Callable[[], Any],
    *,
    names: Sequence[str] = (),
    is_wrong: Callable[[Any], str] = lambda result: "",
    seconds: float = 20,
) -> Outcome:
    """Uses one input and returns what became of it.

    Args:
      kind: as in `Outcome`.
      given: the input in a few words.
      use: uses the input.
      names: a refusal whose message contains none of these is wrong; () for no such check.
      is_wrong: returns what is wrong with the result of `use`; "" for nothing.
      seconds: after these, it is a hang.
    """
    try:
        with time_limit(seconds):
            problem = is_wrong(use())
    except UserError as error:
        line = str(error)
        if names and not any(name in line for name in names):
            return Outcome(kind, WRONG, f"{given}: the message names none of {', '.join(names)}: {line}")
        return Outcome(kind, REFUSED, f"{given}: {line}")
    except Hang:
        return Outcome(kind, HANG, f"{given}: not done after {seconds} s")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        line = (str(error).splitlines() or [""])[0][:200]
        return Outcome(kind, TRACEBACK, f"{given}: {type(error).__name__}: {line} ({frame.filename}:{frame.lineno})")
    return Outcome(kind, WRONG, f"{given}: {problem}") if problem else Outcome(kind, ACCEPTED, given)


def table(outcomes: Iterable[Outcome]) -> str:
    """Returns a Markdown table: a row for each kind of input, the number of inputs by outcome, and the sum."""
    counts: dict[str, Counter] = {}
    for kind, outcome, _ in outcomes:
        counts.setdefault(kind, Counter())[outcome] += 1
    heading = ("inputs", "number", *OUTCOMES)
    rows = [(kind, counts[kind].total(), *(counts[kind][name] for name in OUTCOMES)) for kind in sorted(counts)]
    total: Counter = sum(counts.values(), Counter())
    rows.append(("all", total.total(), *(total[name] for name in OUTCOMES)))
    lines = [heading, ("---", *("---:" for _ in heading[1:])), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def versions() -> str:
    """Returns a line with the versions of Python and of the libraries."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES)]) + "\n"


def version(library: str) -> str:
    """Returns the installed version of a library."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "(not installed)"
