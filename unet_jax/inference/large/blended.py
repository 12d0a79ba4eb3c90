"""Approximate prediction of an image that does not fit into the memory, for networks that read the whole map.

Group and instance normalisation take mean and variance over the whole map, so no part of an image gives what the whole image
would give. Such an image is cut into tiles that overlap by half. The mean of their probabilities is taken, weighted by a
Gaussian that is largest in the middle of a tile (Isensee et al.: "nnU-Net", Nature Methods 2021, "Inference").
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from unet_jax.data.datasets.image_rows import ImageRows
from unet_jax.inference.forward import Forward, forward, forward_masks
from unet_jax.inference.program import Program
from unet_jax.models.network import Network
from unet_jax.runtime.compile_notice import print_above_bar
from unet_jax.runtime.memory import to_text
from unet_jax.runtime.out_of_memory import OutOfMemory
from unet_jax.segmentation import to_masks

# The largest tile, in pixels. A budget that is too small halves it, down to the smallest.
LARGEST, SMALLEST = 1024, 64
# The standard deviation of the Gaussian for a tile of one pixel, and the least weight.
SIGMA, LEAST_WEIGHT = 1 / 8, 1e-3


class Blended:
    """Predicts images in tiles, within a budget of memory.

    Args:
      network: the network; it has same padding, or its tiles are cut so that what it removes is there.
      mode: "accurate" or "fast".
      devices: share the tiles.
    """

    # The bytes for each pixel of an image that one pass of the whole image takes at least; not known here.
    map_bytes = 0.0
    # Tiles have sizes that the network takes, whatever the size of the image.
    multiple = 1

    def __init__(self, network: Network, mode: str, devices: Sequence[jax.Device]):
        self._network, self._mode, self._devices = network, mode, tuple(devices)
        self._programs: dict[tuple, Program] = {}
        # The side of a tile that fits, by what decides it.
        self._sides: dict[tuple, int] = {}
        self._told = False

    @property
    def num_compiled(self) -> int:
        """The number of sizes of tiles that were compiled."""
        return sum(len(program.shapes) for program in self._programs.values())

    def bands(
        self, fn: Forward, variables: Any, image: ImageRows, budget: float, held: float = 0
    ) -> Iterator[tuple[int, Any]]:
        """Yields (first row, the arrays `[b, output_size(w), ...]` of `fn`); see `streamed.Streamed.bands`.

        Raises:
          OutOfMemory: the smallest tile does not fit.
        """
        # Masks are those of the blended probabilities.
        tiles = forward if fn == forward_masks else fn
        key = fn, image.shape, budget, held
        side = self._sides.get(key, LARGEST)
        while True:
            try:
                for start, band in self._blend(tiles, variables, image, side, budget - held):
                    self._sides[key] = side
                    yield start, to_masks(band, self._network.activation) if fn == forward_masks else band
                return
            except OutOfMemory as error:
                if side <= SMALLEST:
                    if error.over_budget:
                        raise too_small(budget, error.over_budget + held, *image.shape[:2]) from error
                    raise
            side //= 2

    def describe(
        self, fn: Forward, variables: Any, shape: tuple[int, int, int], budget: float, held: float = 0
    ) -> dict:
        """Returns how an image that is predicted is cut, once its first band is there, in the types of JSON."""
        del variables
        return {"tile": self._sides[fn, shape, budget, held], "approximate": True}

    def _blend(
        self, fn: Forward, variables: Any, image: ImageRows, side: int, budget: float
    ) -> Iterator[tuple[int, np.ndarray]]:
        height, width, _ = image.shape
        lost = height - self._network.output_size(height)
        rows, columns = height - lost, width - lost
        of_tile = [self._tile_size(side, size) for size in (rows, columns)]
        step = self._step()
        tops, lefts = (_starts(size, tile, step) for size, tile in zip((rows, columns), of_tile, strict=True))
        weights = gaussian(of_tile[0])[:, None] * gaussian(of_tile[1])
        key = fn, budget
        if key not in self._programs:
            self._programs[key] = Program(fn, self._network, self._mode, self._devices, budget)
        number = len(self._devices)
        total: Any = None
        for top, following in zip(tops, [*tops[1:], rows], strict=True):
            band = image.read(top, top + of_tile[0] + lost)
            for at in range(0, len(lefts), number):
                chosen = [lefts[min(i, len(lefts) - 1)] for i in range(at, at + number)]
                batch = np.stack([band[:, left : left + of_tile[1] + lost] for left in chosen])
                predicted = self._programs[key](variables, {"image": batch})
                if total is None:
                    total = np.zeros((of_tile[0], columns, *predicted.shape[3:]), np.float32)
                    weight = np.zeros((of_tile[0], columns), np.float32)
                    self._tell(height, width, of_tile)
                for left, tile in zip(chosen[: len(lefts) - at], predicted, strict=False):
                    by_pixel = weights.reshape(*weights.shape, *[1] * (tile.ndim - 2))
                    total[:, left : left + of_tile[1]] += by_pixel * tile
                    weight[:, left : left + of_tile[1]] += weights
            done = following - top
            yield top, total[:done] / weight[:done].reshape(done, columns, *[1] * (total.ndim - 2))
            for sums in (total, weight):
                sums[: len(sums) - done] = sums[done:]
                sums[len(sums) - done :] = 0

    def _tile_size(self, side: int, size: int) -> int:
        """Returns the height (width) of the logits of a tile, for an image whose logits have this height (width)."""
        if self._network.output_size(self._network.input_size(size)) == size and size <= side:
            return size
        return self._network.output_size(self._network.input_size(side))

    def _step(self) -> int:
        try:
            return self._network.multiple
        except NotImplementedError:
            # A network of a user may not say on which sizes it works.
            return 1

    def _tell(self, height: int, width: int, tile: Sequence[int]) -> None:
        if not self._told:
            print_above_bar(
                f"note: an image of {height} x {width} pixels is predicted in tiles of {tile[0]} x {tile[1]} that are blended: "
                "the network reads the whole map, or has operators that are not declared, so the probabilities are approximate. "
                "More memory predicts the image as a whole"
            )
        self._told = True


def too_small(budget: float, needed: float, height: int, width: int) -> OutOfMemory:
    """Returns the error that a budget does not do for the smallest part of an image."""
    return OutOfMemory(
        f"memory {to_text(budget)}: the smallest part of an image of {height} x {width} pixels, with the result, takes "
        f"{to_text(needed, up=True)}; give at least that"
    )


def gaussian(size: int) -> np.ndarray:
    """Returns the weights along one side of a tile, float32 `[size]`."""
    position = (np.arange(size) - (size - 1) / 2) / size
    return np.maximum(np.exp(-0.5 * (position / SIGMA) ** 2), LEAST_WEIGHT).astype(np.float32)


def _starts(size: int, tile: int, step: int) -> list[int]:
    """Returns the first pixels of tiles that overlap by about half.

    Tiles start at multiples of `step`, so that each is pooled as the whole image is.

    >>> _starts(100, 40, 1), _starts(100, 40, 8)
    ([0, 20, 40, 60], [0, 16, 40, 60])
    """
    count = 1 + max(math.ceil((size - tile) / max(tile // 2, 1)), 0)
    inner = {round(i * (size - tile) / (count - 1)) // step * step for i in range(count - 1)}
    return sorted(inner | {max(size - tile, 0)})
