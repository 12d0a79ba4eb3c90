"""Connected components of masks that come in bands of rows: an object that crosses bands is one object.

Each band is labelled alone. Then labels that touch across the border of two bands are joined. Objects are numbered in the order
of their first pixels, row by row, as `skimage.measure.label` numbers them. So numbers do not depend on the bands.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import skimage.measure

from unet_jax.evaluation import border_objects
from unet_jax.inference.large.scratch import Scratch, band_rows


class Labels:
    """The objects of one class in an image: a number for each pixel.

    >>> labels = Labels.of(np.array([[1, 0, 2], [1, 0, 2]]))
    >>> labels.keep(np.array([False, True])).read(0, 2).tolist()
    [[0, 0, 1], [0, 0, 1]]

    Args:
      scratch: an array of preliminary numbers, uint32 `[H, W]`; 0 is no object.
      numbers: the number of the object by preliminary number; `numbers[0]` is 0.
      areas: the number of pixels by number of the object, from object 1.

    Attributes:
      shape: height and width of the image.
      count: the number of objects. They are numbered from 1, in the order of their first pixels, row by row.
      areas: the number of pixels of each object, int64 `[count]`.
    """

    def __init__(self, scratch: Scratch, numbers: np.ndarray, areas: np.ndarray):
        self._scratch, self._numbers = scratch, numbers.astype(np.uint32)
        self.areas = areas
        self.count = len(areas)
        height, width = scratch.array.shape
        self.shape = (height, width)

    @classmethod
    def of(cls, array: np.ndarray) -> "Labels":
        """Returns the objects of an array of numbers `[H, W]`, 0 for no object; they are numbered anew."""
        scratch = Scratch((array.shape[0], array.shape[1]), np.uint32)
        values, first, inverse, areas = np.unique(array, return_index=True, return_inverse=True, return_counts=True)
        scratch.array[:] = inverse.reshape(array.shape)
        is_object = values != 0
        return cls(scratch, *_in_order(first, is_object, areas))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the numbers in the rows `start` to `stop - 1`, uint32 `[stop - start, W]`."""
        numbers = self._numbers[self._scratch.array[start:stop]]
        self._scratch.release()
        return numbers

    def bands(self, pixel_bytes: int = 4) -> Iterator[tuple[int, int]]:
        """Yields the (first, last + 1) rows of bands that cover the image.

        Args:
          pixel_bytes: what the caller needs for each pixel of a band.
        """
        yield from band_rows(self.shape[0], pixel_bytes * self.shape[1])

    def keep(self, kept: np.ndarray) -> "Labels":
        """Returns some of the objects, numbered anew in the same order.

        Args:
          kept: bool `[count]`.
        """
        new = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)])
        return Labels(self._scratch, new[self._numbers], self.areas[kept])


class ComponentLabeller:
    """Labels the connected components of a mask that comes in bands.

    >>> labeller = ComponentLabeller(2, 3, connectivity=1)
    >>> labeller.add(0, np.array([[True, False, True]]))
    >>> labeller.add(1, np.array([[True, True, True]]))
    >>> labeller.finish().read(0, 2).tolist()
    [[1, 0, 1], [1, 1, 1]]

    Args:
      height: of the image.
      width: of the image.
      connectivity: 1: pixels that share an edge are connected; 2: those that share a corner, too.
    """

    def __init__(self, height: int, width: int, connectivity: int):
        self._scratch = Scratch((height, width), np.uint32)
        self._connectivity = connectivity
        # Of each band: the number of pixels of each preliminary label.
        self._areas: list[np.ndarray] = []
        self._count = 0
        # Pairs of preliminary labels that touch across the border of two bands, `[n, 2]`.
        self._pairs: list[np.ndarray] = []

    def add(self, start: int, mask: np.ndarray) -> None:
        """Labels a band; bands are added from the first row to the last.

        Args:
          start: its first row.
          mask: bool `[b, W]`.
        """
        found = skimage.measure.label(mask, connectivity=self._connectivity).astype(np.uint32)
        areas = np.bincount(found.ravel())[1:]
        found[found > 0] += np.uint32(self._count)
        self._areas.append(areas)
        self._count += len(areas)
        if start:
            self._join(self._scratch.array[start - 1], found[0])
        self._scratch.array[start : start + len(found)] = found
        self._scratch.release()

    def _join(self, above: np.ndarray, below: np.ndarray) -> None:
        """Notes which labels of two rows that follow each other touch."""
        shifts = (0,) if self._connectivity == 1 else (-1, 0, 1)
        width = len(above)
        for shift in shifts:
            upper = above[max(-shift, 0) : width - max(shift, 0)]
            lower = below[max(shift, 0) : width - max(-shift, 0)]
            touching = (upper > 0) & (lower > 0)
            self._pairs.append(np.unique(np.stack([upper[touching], lower[touching]], -1), axis=0))

    def finish(self) -> Labels:
        """Returns the objects of the whole image."""
        pairs = np.concatenate([np.zeros((0, 2), np.uint32), *self._pairs]).astype(np.int64)
        areas = np.concatenate([np.zeros(1, np.int64), *self._areas])
        graph = scipy.sparse.coo_array((np.ones(len(pairs), bool), pairs.T), shape=(len(areas),) * 2)
        _, component = scipy.sparse.csgraph.connected_components(graph, directed=False)
        # Preliminary labels are in the order of their first pixels, so the first of a component is the one of its first pixel.
        roots, first, inverse = np.unique(component, return_index=True, return_inverse=True)
        of_component = np.zeros(len(roots), np.int64)
        np.add.at(of_component, inverse, areas)
        numbers, of_objects = _in_order(first, first != 0, of_component)
        return Labels(self._scratch, numbers[inverse], of_objects)


def _in_order(first: np.ndarray, is_object: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers values in the order of their first positions.

    Args:
      first: the first position of each value.
      is_object: False for the value that is no object.
      areas: the number of pixels of each value.

    Returns:
      The number of each value, 0 for no object, and the areas by number.
    """
    order = np.argsort(first)
    order = order[is_object[order]]
    numbers = np.zeros(len(first), np.int64)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers, areas[order]


def label(mask_of: Callable[[int, int], np.ndarray], labels: Labels, connectivity: int) -> Labels:
    """Returns the connected components of a mask that is computed from labels, band by band.

    Args:
      mask_of: returns the rows `start` to `stop - 1` of the mask, bool `[stop - start, W]`.
      labels: gives the size of the image.
      connectivity: see `ComponentLabeller`.
    """
    labeller = ComponentLabeller(*labels.shape, connectivity)
    for start, stop in labels.bands():
        labeller.add(start, mask_of(start, stop))
    return labeller.finish()


def fill_holes(background: Labels, connectivity: int) -> Labels:
    """Returns the objects with their holes filled.

    Args:
      background: the connected components of what is no object. A hole is one that has no pixel at the border of the image.
      connectivity: of the objects; see `ComponentLabeller`. That of the background is the other one, 3 - connectivity.
    """
    height, width = background.shape
    outside = np.zeros(background.count + 1, bool)
    outside[background.read(0, 1)] = True
    outside[background.read(height - 1, height)] = True
    for start, stop in background.bands():
        band = background.read(start, stop)
        outside[band[:, [0, width - 1]]] = True
    # 0 are the pixels of objects.
    outside[0] = False
    return label(lambda start, stop: ~outside[background.read(start, stop)], background, connectivity)


def grow(labels: Labels, ground: Scratch, steps: int) -> Labels:
    """Returns the objects, grown as in `border_objects.grow`, and numbered anew in the order of their first pixels.

    Args:
      labels: the objects.
      ground: the pixels that they may grow into, an array bool `[H, W]`.
      steps: the number of pixels that they grow.
    """
    height, width = labels.shape
    scratch = Scratch(labels.shape, np.uint32)
    first, areas = np.full(labels.count + 1, -1), np.zeros(labels.count + 1, np.int64)
    for start, stop in labels.bands(pixel_bytes=16):
        # What lies beyond does not reach the band.
        above, below = max(start - steps, 0), min(stop + steps, height)
        grown = border_objects.grow(labels.read(above, below), ground.array[above:below], steps)
        band = grown[start - above : stop - above]
        scratch.array[start:stop] = band
        numbers, places, counts = np.unique(band, return_index=True, return_counts=True)
        areas[numbers] += counts
        new = first[numbers] < 0
        first[numbers[new]] = start * width + places[new]
        scratch.release()
        ground.release()
    return Labels(scratch, *_in_order(first, np.arange(labels.count + 1) > 0, areas))
