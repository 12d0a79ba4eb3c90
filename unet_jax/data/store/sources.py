"""Wraps sources of examples: a subset, two merged, kept in memory, and endless shuffled epochs."""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def size_of(source, index) -> tuple[int, int]:
    """Returns (height, width) of an image, without decoding it where the source has a method `size`."""
    size = getattr(source, "size", None)
    return size(index) if size else source[index]["image"].shape[:2]


class Subset:
    """Holds a fraction of a source's examples, in their order, at least one.

    The choice does not depend on the run's seed, and a smaller fraction is a subset of a larger one.
    """

    def __init__(self, source, fraction: float):
        order = np.random.default_rng(0).permutation(len(source))
        self.source, self._chosen = source, np.sort(order[: max(round(fraction * len(source)), 1)])

    def __len__(self) -> int:
        return len(self._chosen)

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of one image."""
        return size_of(self.source, int(self._chosen[index]))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.source[int(self._chosen[index])]


class MergedSource:
    """Adds to each example of a source the features that `other` has at the same index."""

    def __init__(self, source, other):
        self.source, self.other = source, other

    def __len__(self) -> int:
        return len(self.source)

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of one image."""
        return size_of(self.source, index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.source[index] | self.other[index]


class InMemory:
    """Keeps decoded examples of a source in memory, the first ones that fit into `max_bytes` (1 GiB).

    Only `keys` are kept and returned. Pixels stay as stored (8 or 16 bit): a quarter or half of the normalised image.
    """

    def __init__(self, source, max_bytes: int = 1 << 30, keys: Sequence[str] = ("image", "mask", "id", "group")):
        self.source, self.keys, self.bytes_left = source, keys, max_bytes
        self._kept, self._lock = {}, threading.Lock()

    def __len__(self) -> int:
        return len(self.source)

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of one image."""
        return self._kept[index]["image"].shape[:2] if index in self._kept else size_of(self.source, index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index in self._kept:
            return self._kept[index]
        example = self.source[index]
        example = {key: example[key] for key in self.keys if key in example}
        num_bytes = sum(getattr(value, "nbytes", 0) for value in example.values())
        with self._lock:
            if index not in self._kept and num_bytes <= self.bytes_left:
                self.bytes_left -= num_bytes
                self._kept[index] = example
        return example


class ShuffledEpochs:
    """Gives endless epochs of a source, each in a new order: item g is (g, an example, `statistics` of its whole image).

    grain's own shuffle finds an index in a domain of 2^16 by trial, 4 ms for each example of a set of 20 images.
    """

    def __init__(self, source, statistics: Callable[[np.ndarray], Any], seed: int):
        self.source, self._compute_statistics, self._statistics = source, statistics, {}
        # A pure function of seed and epoch.
        self._order = functools.lru_cache(4)(
            lambda epoch: np.random.default_rng((seed, epoch)).permutation(len(source))
        )

    def __len__(self):
        return len(self.source) << 32

    def __getitem__(self, position):
        epoch, place = divmod(position, len(self.source))
        index = int(self._order(epoch)[place])
        example = self.source[index]
        if index not in self._statistics:
            self._statistics[index] = self._compute_statistics(example["image"])
        return position, example, self._statistics[index]
