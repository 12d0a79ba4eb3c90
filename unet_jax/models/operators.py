"""Operators that read neighbouring rows: which rows, and how they run on a band of rows instead of a whole map.

A network that is built of these operators can be run band by band on an image that does not fit into the memory
(`inference/large/stream.py`), and the distance from which its logits read is known (`receptive_field.py`). So every operator
of a network that reads more than one row is declared here by its `Window`, and maps that are concatenated or added go
through `join`. Everything else in a network acts on each pixel by itself.

Rows and columns are treated alike by every operator, so the window of the rows is that of the columns, too.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import jax

# A number of rows: a Python integer, or a traced one.
Number = TypeVar("Number", int, jax.Array)
Map = jax.Array


@dataclasses.dataclass(frozen=True)
class Window:
    """The rows that an operator reads.

    The rows `scale i .. scale (i + 1) - 1` of the result read the rows `stride i - before .. stride i + after` of the source.

    >>> Window(before=1, after=1, end=1).rows(10), Window(after=1, stride=2).rows(10), Window(scale=2).rows(10)
    (10, 5, 20)

    Attributes:
      before: see above; rows above the source are filled.
      after: see above.
      stride: see above.
      scale: see above.
      end: the number of rows below the source that are filled.
      fill: the value of the rows that are filled; None repeats the first and the last row of the source.
      each: the rows (before, after) that each of the `scale` rows reads by itself; () if each reads all of them.
    """

    before: int = 0
    after: int = 0
    stride: int = 1
    scale: int = 1
    end: int = 0
    fill: float | None = 0.0
    each: tuple[tuple[int, int], ...] = ()

    @property
    def fills(self) -> bool:
        """True if the operator reads rows beyond the source."""
        return self.before > 0 or self.end > 0

    def rows(self, rows: Number) -> Number:
        """Returns the number of rows of the result for a source of `rows` rows."""
        return self.scale * ((rows + self.end - self.after - 1) // self.stride + 1)

    def reads(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and the last row of the source that the rows `first` to `last` of the result read.

        >>> Window(after=1, stride=2).reads(3, 4), Window(before=1, after=1, scale=2, each=((1, 0), (0, 1))).reads(6, 6)
        ((6, 9), (2, 3))
        """
        each = self.each or ((self.before, self.after),) * self.scale
        before, after = each[first % self.scale][0], each[last % self.scale][1]
        return self.stride * (first // self.scale) - before, self.stride * (last // self.scale) + after


class Runner(Protocol):
    """Replaces the operators while a network is traced; see `run_operators`."""

    def operator(self, window: Window, band: Callable[[Map], Map], whole: Callable[[Map], Map], x: Map) -> Map:
        """Returns the result of an operator; see `operator`."""
        ...

    def join(self, maps: Sequence[Map]) -> list[Map]:
        """Returns maps that cover the same rows; see `join`."""
        ...

    def crop(self, x: Map, start: tuple[int, int], size: tuple[int, int]) -> Map:
        """Returns a part of a map; see `crop`."""
        ...


_runner: contextvars.ContextVar[Runner | None] = contextvars.ContextVar("runner", default=None)


@contextlib.contextmanager
def run_operators(runner: Runner | None) -> Iterator[None]:
    """Lets a runner compute the operators of the networks that are traced inside the context.

    Args:
      runner: gets the images padded to the network's `multiple`; None for the operators as they are written.
    """
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)


def operator(window: Window, band: Callable[[Map], Map], whole: Callable[[Map], Map], x: Map) -> Map:
    """Applies an operator to a map `[B, H, W, C]`.

    Args:
      window: the rows that it reads.
      band: the operator on a part of the rows, all filled rows included: it fills no rows, but the columns.
      whole: the operator on all rows, without the filled ones. It equals `band` after filling.
      x: the map.

    Returns:
      `[B, window.rows(H), W', C']`.
    """
    runner = _runner.get()
    return whole(x) if runner is None else runner.operator(window, band, whole, x)


def join(maps: Sequence[Map]) -> list[Map]:
    """Returns maps `[B, H, W, C_k]` that are about to be concatenated or added. Usually they are returned as they are."""
    runner = _runner.get()
    return list(maps) if runner is None else runner.join(maps)


def crop(x: Map, start: tuple[int, int], size: tuple[int, int]) -> Map:
    """Returns a part of a map `[B, H, W, C]`.

    Args:
      x: the map.
      start: (row, column) of the first pixel.
      size: (height, width) of the part.
    """
    runner = _runner.get()
    if runner is not None:
        return runner.crop(x, start, size)
    (row, column), (height, width) = start, size
    return x[:, row : row + height, column : column + width]


def center_crop(x: Map, size: tuple[int, int]) -> Map:
    """Returns the middle of a map `[B, H, W, C]`; see `segmentation.center_crop`."""
    return crop(x, ((x.shape[1] - size[0]) // 2, (x.shape[2] - size[1]) // 2), size)


def is_padded() -> bool:
    """Returns True inside `run_operators`: then the rows come padded, and the height need not be the image's."""
    return _runner.get() is not None
