"""Reads, computes and writes at the same time: a thread that reads ahead, and one that writes, around a loop."""

import collections
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from unet_jax.data.datasets.image_rows import ImageRows

Item = TypeVar("Item")
Content = TypeVar("Content")
Result = TypeVar("Result")

# How many items are read before they are needed, and how many wait to be written. More would only take more memory.
AHEAD = 1
BEHIND = 1


def overlap(
    items: Iterable[Item],
    read: Callable[[Item], Content],
    compute: Callable[[Item, Content], Result],
    write: Callable[[Item, Content, Result], None],
) -> None:
    """Calls, for each item in order, `read`, then `compute`, then `write`; the next is read and the last written meanwhile.

    `items` and `compute` run in the thread of the caller. An error of any of them, Ctrl-C too, ends the loop: what is
    computed by then is still written, and then the first error is raised here.

    >>> written = []
    >>> overlap([1, 2], str, lambda item, text: text * item, lambda item, text, result: written.append(result))
    >>> written
    ['1', '22']
    """
    rest = iter(items)
    reads: collections.deque[tuple[Item, Future[Content]]] = collections.deque()
    writes: collections.deque[Future[None]] = collections.deque()
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as reader:
        try:
            reads.extend((item, reader.submit(read, item)) for item in itertools.islice(rest, 1 + AHEAD))
            while reads:
                item, future = reads.popleft()
                content = future.result()
                result = compute(item, content)
                while len(writes) > BEHIND:
                    writes.popleft().result()
                writes.append(writer.submit(write, item, content, result))
                reads.extend((item, reader.submit(read, item)) for item in itertools.islice(rest, 1))
        except BaseException:
            reader.shutdown(cancel_futures=True)
            raise
        for done in writes:
            done.result()


class ReadAhead:
    """An image of which the next band is read while one is used; a context.

    Where a read begins at the end of the last one, the next band of as many rows is read at once. Any other order is served,
    too.

    >>> from unet_jax.data.datasets.image_rows import ArrayRows
    >>> with ReadAhead(ArrayRows(np.arange(6).reshape(6, 1))) as rows:
    ...     [rows.read(start, start + 2).ravel().tolist() for start in (0, 2, 4)]
    [[0, 1], [2, 3], [4, 5]]

    Args:
      rows: the image; only one thread reads it at a time.
    """

    def __init__(self, rows: ImageRows):
        self.shape, self.dtype = rows.shape, rows.dtype
        self._rows = rows
        self._thread = ThreadPoolExecutor(1)
        self._last = 0
        self._next: tuple[tuple[int, int], Future[np.ndarray]] | None = None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows `start` to `stop - 1`; see `ImageRows`."""
        if self._next and self._next[0] == (start, stop):
            band = self._next[1].result()
        else:
            band = self._thread.submit(self._rows.read, start, stop).result()
        in_order, self._last, self._next = start == self._last, stop, None
        if in_order and stop < self.shape[0]:
            following = (stop, min(2 * stop - start, self.shape[0]))
            self._next = following, self._thread.submit(self._rows.read, *following)
        return band

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
