"""Runs a network on an image band by band: bands of rows enter, bands of logits leave, in memory that the height does not change.

Every operator of a network reads a few rows above and below (`models/operators.py`). So it keeps the last rows of its input
from one band to the next, and gives its result some rows late: its delay (`models/receptive_field.py`). Where maps are
concatenated, those with the smaller delay wait in a queue. No pixel is computed twice. Rows beyond the image are filled as the
operator fills them: there, every map ends where the whole image's map ends. So the logits are those of one forward pass of the
whole image, up to rounding.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.models.network import Network
from unet_jax.models.operators import Map, Window, run_operators
from unet_jax.models.receptive_field import IMAGE, Graph
from unet_jax.runtime import parallel


class BandRunner:
    """Runs the operators of a network on one band; see `operators.Runner`.

    Args:
      graph: of the network.
      number: of the band, from 0.
      rows: of the padded image.
      edges: of each operator that reads rows of earlier bands, the last rows of its source; None for zeros.
      queues: of each map that waits, its earlier bands, the oldest first; None for zeros.

    Attributes:
      edges: those for the next band.
      newest: of each map that waits, its band of this step.
      waits: of each map that waits, the number of bands.
    """

    def __init__(self, graph: Graph, number: Any, rows: Any, edges: Any = None, queues: Any = None):
        self._graph, self._number, self._edges, self._queues = graph, number, edges, queues
        self._rows = _rows_of_nodes(graph, rows)
        self._next = 0
        self._names: dict[int, str] = {}
        self._maps: list[Map] = []
        self.edges: dict[str, Map] = {}
        self.newest: dict[str, Map] = {}
        self.waits: dict[str, int] = {}

    def operator(self, window: Window, band: Callable[[Map], Map], whole: Callable[[Map], Map], x: Map) -> Map:
        """Returns the rows of the result that can be computed now; see `operators.operator`."""
        del whole
        number, node = self._take()
        delay = self._graph.delay(node.sources[0])
        # Rows of earlier bands that are read, and rows of this band that are not read yet.
        late = window.stride * (node.delay // window.scale)
        kept, unread = window.before + late - delay, late + window.stride - window.after - 1 - delay
        first = self._number * x.shape[1] - delay - kept
        if kept > 0:
            name = str(number)
            edge = jnp.zeros((1, kept, *x.shape[2:]), x.dtype) if self._edges is None else self._edges[name]
            x = jnp.concatenate([edge, x], 1)
            self.edges[name] = x[:, -kept:]
        x = x[:, max(-kept, 0) : x.shape[1] - unread]
        if window.fills:
            x = _fill(x, first, self._rows[min(node.sources[0])], window.fill)
        return band(x)

    def join(self, maps: Sequence[Map]) -> list[Map]:
        """Returns the maps, each as late as the latest; see `operators.join`."""
        _, node = self._take()
        return [self._wait(x, node.delay - self._graph.delay(of)) for x, of in zip(maps, node.sources, strict=True)]

    def crop(self, x: Map, start: tuple[int, int], size: tuple[int, int]) -> Map:
        """Returns the columns; the rows that are left out above are in the delay. See `operators.crop`."""
        self._take()
        return x[:, :, start[1] : start[1] + size[1]]

    def heads(self, heads: Sequence[Map]) -> list[Map]:
        """Returns the bands of all heads, each as late as the latest."""
        late = self._graph.head_delay
        return [self._wait(x, late - self._graph.delay(of)) for x, of in zip(heads, self._graph.heads, strict=True)]

    def _take(self):
        self._next += 1
        return self._next - 1, self._graph.nodes[self._next - 1]

    def _wait(self, x: Map, delay: int) -> Map:
        """Returns the rows of a map that it had so many rows earlier: they lie in at most two bands."""
        if delay == 0:
            return x
        # A map that several others read waits once.
        name = self._names.setdefault(id(x), str(len(self._names)))
        self._maps.append(x)
        rows = x.shape[1]
        count = -(-delay // rows)
        self.newest[name] = x
        self.waits[name] = max(count, self.waits.get(name, 0))
        earlier = [jnp.zeros_like(x)] * count if self._queues is None else self._queues[name][-count:]
        start, (one, two) = count * rows - delay, [*earlier, x][:2]
        return jnp.concatenate([one[:, start:], two[:, :start]], 1) if start else one


def _rows_of_nodes(graph: Graph, rows: Any) -> dict[int, Any]:
    """Returns the number of rows of the result of each node, for an image of `rows` rows."""
    result = {IMAGE: rows}
    for number, node in enumerate(graph.nodes):
        sources = [result[min(of)] for of in node.sources]
        # Maps that are joined cover the same rows; some go on below.
        result[number] = node.window.rows(sources[0]) if node.window else functools.reduce(jnp.minimum, sources)
    return result


def _fill(x: Map, first: Any, rows: Any, fill: float | None) -> Map:
    """Fills the rows of a band that lie beyond the map.

    Args:
      x: the band.
      first: the row of the map that its first row is.
      rows: of the map.
      fill: as in `Window`.
    """
    row = first + jnp.arange(x.shape[1])
    if fill is None:
        return jnp.take(x, jnp.clip(jnp.clip(row, 0, rows - 1) - first, 0, x.shape[1] - 1), axis=1)
    x = jnp.where(((row >= 0) & (row < rows))[None, :, None, None], x, jnp.asarray(fill, x.dtype))
    # Otherwise XLA computes this together with what follows, a tenth slower on a CPU.
    return jax.lax.optimization_barrier(x)


def step(
    finish: Callable[[list[Map]], Any], network: Network, graph: Graph, variables: Any, band: dict[str, Any]
) -> dict[str, Any]:
    """Runs a network on one band.

    Args:
      finish: turns the logits of all heads, `[1, b, w', K]`, into what leaves.
      network: the network.
      graph: its operators.
      variables: of the network.
      band: `image` `[1, b, w, C]`, and `number` and `rows`, `edges` and `queues` of `BandRunner`.

    Returns:
      `out`, the result of `finish`, and `edges` and `newest` of the `BandRunner`.
    """
    runner = BandRunner(graph, band["number"], band["rows"], band["edges"], band["queues"])
    with run_operators(runner):
        heads: Any = network.apply(variables, band["image"], train=False)
        heads = runner.heads(heads)
    return {"out": finish(heads), "edges": runner.edges, "newest": runner.newest}


class Stream:
    """A network that is compiled for bands of one size.

    Args:
      finish: see `step`.
      network: the network.
      graph: its operators.
      variables: of the network, or of their shapes.
      shape: of a band, `(rows, width, channels)`; rows and width are multiples of the graph's `multiple`.
      devices: each of them runs a band of its own.
    """

    def __init__(
        self,
        finish: Callable[[list[Map]], Any],
        network: Network,
        graph: Graph,
        variables: Any,
        shape: tuple[int, int, int],
        devices: Sequence[jax.Device],
    ):
        self._devices, self.shape = tuple(devices), shape
        self.delay = graph.head_delay
        number = jax.ShapeDtypeStruct((), np.int32)
        band: dict[str, Any] = {
            "image": jax.ShapeDtypeStruct((1, *shape), np.float32),
            "number": number,
            "rows": number,
        }
        waits: dict[str, int] = {}

        def first(variables, image, number, rows):
            runner = BandRunner(graph, number, rows)
            with run_operators(runner):
                runner.heads(network.apply(variables, image, train=False))
            waits.update(runner.waits)
            return runner.edges, runner.newest

        edges, newest = jax.eval_shape(first, variables, **band)
        self.state = {"edges": edges, "queues": {name: [newest[name]] * count for name, count in waits.items()}}
        variables = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
        on_devices = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(devices), *x.shape), x.dtype), band | self.state)
        fn = functools.partial(step, finish, network, graph)
        p_step: Any = parallel.pmap_forward(fn, devices)
        self.program = p_step.lower(variables, on_devices).compile()

    @property
    def num_devices(self) -> int:
        """The number of images that are streamed at the same time, one on each device."""
        return len(self._devices)

    def state_bytes(self) -> int:
        """Returns the bytes that each device keeps from band to band."""
        return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(self.state))

    def start(self, variables: Any, rows: int) -> "Pass":
        """Returns a pass over images, one for each device.

        Args:
          variables: of the network, replicated over the devices.
          rows: of the padded images.
        """
        return Pass(self, variables, rows)


class Pass:
    """The bands of images that follow each other; `enter` takes the next band.

    Args:
      stream: the compiled network.
      variables: of the network, replicated over the devices.
      rows: of the padded images.
    """

    def __init__(self, stream: Stream, variables: Any, rows: int):
        self._program, self._variables, self._number = stream.program, variables, 0
        count = stream.num_devices
        self._rows = np.full(count, rows, np.int32)
        zeros = jax.tree.map(lambda x: np.zeros((count, *x.shape), x.dtype), stream.state)
        self._edges, self._queues = zeros["edges"], zeros["queues"]

    def enter(self, image: np.ndarray) -> Any:
        """Returns what leaves, on the devices: row 0 of it is row `number of the band x rows of a band - delay`.

        Args:
          image: a band for each device, `[devices, 1, b, w, C]`.
        """
        band = {
            "image": image,
            "number": np.full(len(image), self._number, np.int32),
            "rows": self._rows,
            "edges": self._edges,
            "queues": self._queues,
        }
        result = self._program(self._variables, band)
        self._number += 1
        self._edges = result["edges"]
        self._queues = {name: [*bands[1:], result["newest"][name]] for name, bands in self._queues.items()}
        return result["out"]
