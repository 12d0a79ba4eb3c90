"""Cuts an image into strips of columns, for images that are too wide to be streamed at once."""

from typing import NamedTuple

from unet_jax.models.receptive_field import Graph


class Strip(NamedTuple):
    """A strip of columns; all strips of an image have one width.

    Attributes:
      start: its first column in the padded image.
      first: the first column of the logits that is taken from it.
      stop: the column of the logits after the last one that is taken from it.
    """

    start: int
    first: int
    stop: int


def strip_width(width: int, count: int, graph: Graph) -> int:
    """Returns the smallest width with which `count` strips cover an image; `width` if one strip does.

    Strips start at multiples of `graph.multiple`, and so do their ends, counted from the end of the image. So each strip is
    pooled as the whole image is.

    Args:
      width: of the padded image in pixels.
      count: the number of strips.
      graph: of the network.
    """
    if count == 1:
        return width
    least = -(-(width + (count - 1) * _shared(graph)) // count)
    # The starts are rounded down.
    least += graph.multiple
    return min(least + (width - least) % graph.multiple, width)


def cut(width: int, of_strip: int, graph: Graph) -> list[Strip]:
    """Returns the strips of an image, from left to right.

    Args:
      width: of the padded image in pixels.
      of_strip: the width of a strip; see `strip_width`.
      graph: of the network.
    """
    columns = width - 2 * graph.offset
    if of_strip >= width:
        return [Strip(0, 0, columns)]
    step = (of_strip - _shared(graph)) // graph.multiple * graph.multiple
    starts = [*range(0, width - of_strip, step), width - of_strip]
    # The logits of a strip begin at the column `start`. Those in its margins lack columns that they read.
    cuts = [0, *(start + graph.margin for start in starts[1:]), columns]
    return [Strip(*strip) for strip in zip(starts, cuts, cuts[1:], strict=False)]


def _shared(graph: Graph) -> int:
    """Returns the columns that two strips share at least: those that a network with valid padding removes, and both margins."""
    return 2 * graph.offset + 2 * graph.margin
