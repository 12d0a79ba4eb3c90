"""The fastest rate of a few rounds, in a limited time."""

import pytest

from unet_jax.runtime import roofline


@pytest.fixture
def clock(monkeypatch):
    """A clock, and a function that takes the seconds of the list, one after the other."""
    now, seconds = [0.0], [0.5, 0.25, 1.0, 0.125]

    def run():
        now[0] += seconds.pop(0)

    monkeypatch.setattr(roofline.time, "perf_counter", lambda: now[0])
    return run, seconds


def test_the_fastest_round_counts(clock):
    run, left = clock
    assert roofline.fastest_rate(run, 3.0, rounds=3) == 12.0
    assert left == [0.125]


@pytest.mark.parametrize(("limit_s", "rounds"), [(0.3, 1), (0.6, 2), (0.75, 2), (9.0, 4)])
def test_after_the_limit_no_round_begins(clock, limit_s, rounds):
    run, left = clock
    roofline.fastest_rate(run, 3.0, rounds=4, limit_s=limit_s)
    assert len(left) == 4 - rounds
