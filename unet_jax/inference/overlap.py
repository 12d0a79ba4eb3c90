"""Reads, computes and writes at the same time: a thread that reads ahead, and one that writes, around a loop."""

import collections
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
