"""Prediction of an image that does not fit into the memory as a whole: how it is cut, and the loop over its bands.

The image is streamed from the first row to the last (`stream.py`). An image that is too wide for the memory is cut into strips
of columns (`strips.py`). The size of a band and the number of strips follow from a budget, by the compiler's own plan of the
memory.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from unet_jax.data.datasets.image_rows import ImageRows
from unet_jax.inference.forward import Forward
from unet_jax.inference.large.blended import Blended, too_small
from unet_jax.inference.large.scratch import Scratch
from unet_jax.inference.large.stream import Stream
from unet_jax.inference.large.strips import Strip, cut, strip_width
from unet_jax.inference.program import NOTICE_AFTER_S, SCRATCH
from unet_jax.models.network import Network
from unet_jax.models.receptive_field import Graph, ReadsWholeMap, trace
from unet_jax.runtime import compilation_cache, parallel
from unet_jax.runtime.compile_notice import compile_notice, print_above_bar
from unet_jax.runtime.memory import resident_memory, return_freed_memory
from unet_jax.runtime.program_cost import Cost

# The pixels of a band, where the memory allows. More are no faster on a CPU; an accelerator needs more to be busy.
BAND_PIXELS = {"cpu": 2**17}
BAND_PIXELS_ELSEWHERE = 2**20
# The rows of the thinnest band, where the network's pools allow it: below it the operators slow down.
LEAST_ROWS = 16
# A prediction that computes so many times the pixels of the image says so.
MANY_TIMES = 3.0


class Cut(NamedTuple):
    """How an image is cut into bands and strips.

    Attributes:
      rows: of a band.
      width: of a strip.
      strips: their number.
    """

    rows: int
    width: int
    strips: int


class _Shapes(NamedTuple):
    """The shapes of variables, as a key: a level of a U-Net++ may be given all variables, or its own."""

    tree: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]


class Streamed:
    """Predicts images in bands, within a budget of memory.

    Args:
      network: the network.
      mode: "accurate" or "fast".
      channels: of the images.
      devices: share the strips of an image.

    Attributes:
      multiple: the step between the sizes of the images that it takes, in pixels.

    Raises:
      ReadsWholeMap: the network cannot be run in bands.
    """

    def __init__(self, network: Network, mode: str, channels: int, devices: Sequence[jax.Device]):
        self._devices = tuple(devices)
        self._graph = trace(network, channels)
        self.multiple = network.multiple
        # Bounded, because programs hold memory: a folder may have images of many widths.
        compile_stream = functools.partial(_compile, network, mode, self._graph, self._devices)
        self._stream = functools.lru_cache(maxsize=16)(compile_stream)
        self._cut = functools.lru_cache(maxsize=64)(self._search)

    @property
    def num_compiled(self) -> int:
        """The number of times that a size of bands was compiled."""
        return self._stream.cache_info().misses

    @property
    def map_bytes(self) -> float:
        """The bytes for each pixel of an image that one pass of the whole image takes at least."""
        return self._graph.map_bytes

    def bands(
        self, fn: Forward, variables: Any, image: ImageRows, budget: float, held: float = 0
    ) -> Iterator[tuple[int, Any]]:
        """Yields (first row, the arrays `[b, output_size(w), ...]` of `fn`), from row 0 to the last, without gaps.

        Args:
          fn: such as `forward.forward`.
          variables: of the network, replicated over the devices.
          image: normalised and padded, `[h, w, C]`, of a size that the network takes.
          budget: bytes that this and the caller may take.
          held: those that the caller takes, for the results that it keeps.

        Raises:
          OutOfMemory: the budget is too small for the smallest band.
        """
        height, width, channels = image.shape
        # What was freed before is no part of what the process holds.
        return_freed_memory(0)
        allowed = resident_memory() + budget
        chosen = self.choose(fn, variables, (height, width, channels), budget, held)
        strips = cut(width, chosen.width, self._graph)
        number = min(len(self._devices), len(strips))
        stream = self._stream(fn, _shapes(variables), (chosen.rows, chosen.width, channels), number)
        if number < len(self._devices):
            variables = parallel.replicate(variables, self._devices[:number])
        groups = [strips[i : i + number] for i in range(0, len(strips), number)]
        if len(groups) == 1:
            yield from self._group(stream, variables, image, groups[0], allowed)
            return
        # The strips that are done wait until the last ones are.
        kept: Any = None
        for group in groups[:-1]:
            for start, band in self._group(stream, variables, image, group, allowed):
                if kept is None:
                    rows, columns = height - 2 * self._graph.offset, groups[-1][0].first
                    kept = jax.tree.map(lambda x: Scratch((rows, columns, *x.shape[2:]), x.dtype), band)  # noqa: B023
                for scratch, x in zip(jax.tree.leaves(kept), jax.tree.leaves(band), strict=True):
                    scratch.array[start : start + len(x), group[0].first : group[-1].stop] = x
                    scratch.release()
        for start, band in self._group(stream, variables, image, groups[-1], allowed):
            yield start, jax.tree.map(lambda kept, x: _beside(kept, x, start), kept, band)  # noqa: B023

    def choose(self, fn: Forward, variables: Any, shape: tuple[int, int, int], budget: float, held: float = 0) -> Cut:
        """Returns how an image `[h, w, C]` is cut; compiles the network for it.

        Bands of the usual size come first, then thinner ones, then more and more strips.

        Raises:
          OutOfMemory: the budget is too small for the smallest band.
        """
        return self._cut(fn, _shapes(variables), shape, budget, held)

    def describe(
        self, fn: Forward, variables: Any, shape: tuple[int, int, int], budget: float, held: float = 0
    ) -> dict:
        """Returns how an image that is predicted is cut, in the types of JSON; see `choose`."""
        chosen = self.choose(fn, variables, shape, budget, held)
        return {"band_rows": chosen.rows, "strip_width": chosen.width, "strips": chosen.strips, "approximate": False}

    def _search(self, fn: Forward, shapes: _Shapes, shape: tuple[int, int, int], budget: float, held: float) -> Cut:
        height, width, channels = shape
        allowed, candidates = budget - held, list(self._candidates(height, width))
        # Bytes for each column: of what stays from band to band, and of each row of a band.
        per_column, per_pixel, smallest = 0.0, 0.0, math.inf
        for chosen in candidates:
            number = min(len(self._devices), chosen.strips)
            # These two are always compiled, so that the size that is asked for is enough.
            at_end = chosen in (candidates[0], candidates[-1])
            if number * chosen.width * (per_column + per_pixel * chosen.rows) > allowed and not at_end:
                continue
            stream = self._stream(fn, shapes, (chosen.rows, chosen.width, channels), number)
            planned = number * _planned(stream)
            if planned <= allowed:
                times = chosen.strips * chosen.width / width * self._steps(chosen.rows, height) * chosen.rows / height
                if times > MANY_TIMES:
                    print_above_bar(
                        f"note: an image of {height} x {width} pixels is predicted in {chosen.strips} strips of "
                        f"{chosen.width} columns, which computes {times:.1f} times its pixels; more memory takes less time"
                    )
                return chosen
            smallest = min(smallest, planned if at_end else math.inf)
            per_column = stream.state_bytes() / chosen.width
            per_pixel = (planned / number / chosen.width - per_column) / chosen.rows
        raise too_small(budget, smallest + held, height, width)

    def _usual_rows(self, width: int) -> int:
        pixels = BAND_PIXELS.get(self._devices[0].platform, BAND_PIXELS_ELSEWHERE)
        return 2 ** round(math.log2(max(pixels / width, 2 * LEAST_ROWS)))

    def _candidates(self, height: int, width: int) -> Iterator[Cut]:
        """Yields the ways to cut an image, the best first."""
        multiple, number = self._graph.multiple, len(self._devices)
        strips = 1
        # A strip for each device, unless the strips would share more than they have of their own.
        while strips < number:
            of_strip = strip_width(width, strips + 1, self._graph)
            if of_strip == width or of_strip * (strips + 1) > 2 * width:
                break
            strips += 1
        seen = set()
        while strips == 1 or strip_width(width, strips, self._graph) < width:
            of_strip = strip_width(width, strips, self._graph)
            rows = self._usual_rows(of_strip)
            while True:
                # A band may have no more rows than the image.
                of_band = -(-min(rows, height) // multiple) * multiple
                chosen = Cut(of_band, of_strip, len(cut(width, of_strip, self._graph)))
                if chosen not in seen:
                    seen.add(chosen)
                    yield chosen
                if rows <= max(LEAST_ROWS, multiple):
                    break
                rows //= 2
            if of_strip <= 3 * multiple + 2 * (self._graph.margin + self._graph.offset):
                return
            strips += number if strips % number == 0 else 1

    def _steps(self, rows: int, height: int) -> int:
        return -(-(height - 2 * self._graph.offset + self._graph.head_delay) // rows)

    def _group(
        self, stream: Stream, variables: Any, image: ImageRows, strips: Sequence[Strip], allowed: float
    ) -> Iterator[tuple[int, Any]]:
        """Yields the bands of strips that are computed at the same time; the process may hold `allowed` bytes; see `bands`."""
        rows, width, channels = stream.shape
        height = image.shape[0]
        last = height - 2 * self._graph.offset
        # Strips that are missing in the last group are computed in vain.
        starts = [strips[min(i, len(strips) - 1)].start for i in range(stream.num_devices)]
        steps = self._steps(rows, height)

        def read(step: int) -> np.ndarray:
            band = np.zeros((rows, image.shape[1], channels), np.float32)
            first, stop = min(step * rows, height), min((step + 1) * rows, height)
            if first < stop:
                band[: stop - first] = image.read(first, stop)
            return np.stack([band[None, :, start : start + width] for start in starts])

        def leave(step: int, out: Any) -> Iterator[tuple[int, Any]]:
            first = step * rows - stream.delay
            low, high = max(first, 0), min(first + rows, last)
            if low < high:
                yield (
                    low,
                    jax.tree.map(lambda x: _columns(np.asarray(x)[:, 0, low - first : high - first], strips), out),
                )

        # What the next band takes must fit, too.
        allowed -= stream.num_devices * (_planned(stream) - stream.state_bytes())
        current, band = stream.start(variables, height), read(0)
        for step in range(steps):
            out = current.enter(band)
            # While the devices compute this band, the next one is read.
            band = read(step + 1) if step + 1 < steps else band
            yield from leave(step, out)
            del out
            return_freed_memory(allowed)


# Cached, so that all predictions with equal networks compile once.
@functools.lru_cache(maxsize=16)
def in_parts(network: Network, mode: str, channels: int, devices: tuple[jax.Device, ...]) -> Streamed | Blended:
    """Returns what predicts an image that does not fit into the memory: `Streamed`, or `Blended` where that is impossible.

    Args:
      network: the network.
      mode: "accurate" or "fast".
      channels: of the images.
      devices: share the work.
    """
    try:
        return Streamed(network, mode, channels, devices)
    except (ReadsWholeMap, NotImplementedError):
        # A network of a user may not say on which sizes it works.
        return Blended(network, mode, devices)


def _shapes(variables: Any) -> _Shapes:
    leaves, tree = jax.tree.flatten(variables)
    return _Shapes(tree, tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves))


def _compile(
    network: Network,
    mode: str,
    graph: Graph,
    devices: tuple[jax.Device, ...],
    fn: Forward,
    shapes: _Shapes,
    shape: tuple[int, int, int],
    number: int,
) -> Stream:
    """Compiles a network for bands `(rows, width, channels)` on the first `number` devices."""

    def finish(heads):
        return fn.finish(heads, network.activation, mode)

    what = f"the network for bands of {shape[0]} x {shape[1]} pixels"
    with compilation_cache.shared(), compile_notice(what, after_s=NOTICE_AFTER_S):
        return Stream(finish, network, graph, shapes.tree.unflatten(shapes.leaves), shape, devices[:number])


def _planned(stream: Stream) -> float:
    """Returns the bytes that a band takes on one device, by the compiler's plan: what stays, what leaves, and temporaries."""
    cost = Cost.of(stream.program)
    return SCRATCH * cost.temporary + cost.output + stream.state_bytes()


def _columns(band: np.ndarray, strips: Sequence[Strip]) -> np.ndarray:
    """Joins the columns of strips: `[n, b, w, ...]` -> `[b, W, ...]`."""
    parts = [x[:, strip.first - strip.start : strip.stop - strip.start] for x, strip in zip(band, strips, strict=False)]
    return np.concatenate(parts, 1) if len(parts) > 1 else parts[0]


def _beside(kept: Scratch, band: np.ndarray, start: int) -> np.ndarray:
    left = kept.array[start : start + len(band)]
    joined = np.concatenate([left, band], 1)
    kept.release()
    return joined
