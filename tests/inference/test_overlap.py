"""Reading, computing and writing at the same time."""

import threading

import numpy as np
import pytest

from unet_jax.errors import UserError
from unet_jax.inference.overlap import AHEAD, BEHIND, ReadAhead, overlap


def test_the_next_is_read_and_the_last_is_written_while_one_is_computed():
    """Each step waits for another thread, so without overlap the test would end by its timeout."""
    read, written = [threading.Event() for _ in range(4)], [threading.Event() for _ in range(3)]
    order = []

    def compute(item, content):
        assert content == 10 * item
        assert read[item + 1].wait(20), "the next item is not read meanwhile"
        if item == 1:
            computing.set()
            assert written[0].wait(20), "the last item is not written meanwhile"
        return item

    def write(item, content, result):
        assert item == result
        if item == 0:
            assert computing.wait(20)
        order.append(item)
        written[item].set()

    def read_item(item):
        read[item].set()
        return 10 * item

    computing = threading.Event()
    read[3].set()
    overlap(range(3), read_item, compute, write)
    assert order == [0, 1, 2]


def test_few_items_are_held_at_once():
    held, most = set(), []

    def read(item):
        held.add(item)
        most.append(len(held))

    overlap(range(50), read, lambda item, _: None, lambda item, *_: held.discard(item))
    # Those read ahead, the one that is computed, and those that wait or are written.
    assert max(most) <= AHEAD + 1 + BEHIND + 1
    assert not held


@pytest.mark.parametrize("where", ["read", "compute", "write"])
@pytest.mark.parametrize("error", [UserError, KeyboardInterrupt])
def test_an_error_of_any_step_ends_the_loop(where, error):
    calls = []

    def step(name):
        def call(item, *_):
            calls.append((name, item))
            if (name, item) == (where, 2):
                raise error("here")

        return call

    threads = threading.active_count()
    with pytest.raises(error, match="here"):
        overlap(range(100), step("read"), step("compute"), step("write"))
    # What was computed before is written.
    assert {("write", 0), ("write", 1)} <= set(calls)
    assert max(item for _, item in calls) < 10
    assert threading.active_count() == threads


def test_the_next_band_is_read_while_one_is_used():
    pixels, reads, again = np.arange(20).reshape(10, 2), [], threading.Event()

    class Rows:
        shape, dtype = (10, 2, 1), pixels.dtype

        def read(self, start, stop):
            reads.append((start, stop))
            if len(reads) == 2:
                again.set()
            return pixels[start:stop]

    with ReadAhead(Rows()) as rows:
        np.testing.assert_array_equal(rows.read(0, 3), pixels[:3])
        assert again.wait(20), "the next band is not read"
        for start, stop in ((3, 6), (6, 9), (9, 10), (0, 3), (2, 5), (7, 9), (9, 10)):
            np.testing.assert_array_equal(rows.read(start, stop), pixels[start:stop])
    # In order, each band is read once.
    assert reads[:4] == [(0, 3), (3, 6), (6, 9), (9, 10)]
