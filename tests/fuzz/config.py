"""Wrong values of every key of a config, and wrong config files and sweeps."""

from collections.abc import Iterator

from tests.fuzz.outcomes import Outcome


def outcomes(seed: int, count: int) -> Iterator[Outcome]:
    """Yields what became of each input."""
    yield from ()
