"""The receptive field of a network: which operator reads which, and the rows of the image that each row of the logits reads.

It is found from the network's own `__call__`. The network is traced once, without computing anything, and every operator
(`operators.py`) becomes one equation of the traced program. What lies between two operators must act on each pixel by itself.
So the rows that a row of the logits reads follow from the windows of the operators alone. A network that has another operation
over rows, such as group or instance normalisation, reads the whole map. So does one that uses the numbers of the rows,
or the height of the image as a number: the network is traced at two sizes, and all other numbers must be the same.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from unet_jax.models.operators import Map, Window, crop, run_operators

# The number of the image among the sources of an operator.
IMAGE = -1
# In the traced program an operator is a function of this name and its number.
_PREFIX = "unet_jax_operator_"
# Operations that act on each pixel by itself.
_POINTWISE = frozenset(
    [
        "abs",
        "add",
        "and",
        "ceil",
        "clamp",
        "convert_element_type",
        "copy",
        "cos",
        "div",
        "eq",
        "erf",
        "exp",
        "expm1",
        "floor",
        "ge",
        "gt",
        "integer_pow",
        "is_finite",
        "le",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "not",
        "optimization_barrier",
        "or",
        "pow",
        "reduce_precision",
        "rem",
        "round",
        "rsqrt",
        "select_n",
        "sign",
        "sin",
        "sqrt",
        "square",
        "stop_gradient",
        "sub",
        "tan",
        "tanh",
    ]
)
# The same, if their axis is that of the channels.
_OVER_CHANNELS = frozenset(
    ["argmax", "argmin", "reduce_max", "reduce_min", "reduce_prod", "reduce_sum", "reduce_and", "reduce_or"]
)
# Operations that call a program on their operands as they are. A scan is not one of them: it passes values from row to row.
_CALLS = frozenset(
    [
        "checkpoint",
        "closed_call",
        "core_call",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "jit",
        "pjit",
        "remat2",
    ]
)
# The axes before the channels, and the order (batch, channels, rows, columns) of the axes of `[B, H, W, C]`.
_PIXELS = (0, 1, 2)
_NHWC = (0, 3, 1, 2)


class ReadsWholeMap(Exception):
    """Reports that a network cannot be run on parts of a map.

    It has an operation over rows that is no operator of `operators.py`, or values that depend on the number of a row or
    on the size of the image.
    """


@dataclasses.dataclass(frozen=True)
class Node:
    """An operator, or a join of maps.

    Attributes:
      window: the rows that the operator reads; None for a join.
      sources: of each map that it gets, the numbers of the nodes that the map is computed from; `IMAGE` is the image.
      delay: the rows that its result comes late, if a network runs on bands of rows; see `Graph`.
      rate: its rows for each row of the image.
    """

    window: Window | None
    sources: tuple[frozenset[int], ...]
    delay: int
    rate: Fraction


@dataclasses.dataclass(frozen=True)
class Graph:
    """The operators of a network in the order of their computation, and which of them each head reads.

    Let bands of n rows of the image enter one after the other. Of a map with the rate r, the band of step s then is its rows
    s n r - delay .. (s + 1) n r - delay - 1: the delay is the smallest for which all that they read has entered.

    Attributes:
      nodes: by their numbers, the operators and joins.
      heads: of each head, the numbers of the nodes that its logits are computed from.
      offset: row 0 of the logits lies at this row of the image; 0 with same padding.
      map_bytes: for each pixel of the image, the bytes of the largest map that an operator reads and of its result.
      multiple: the step between positions whose logits read alike, and between the sizes that the network works on.
    """

    nodes: tuple[Node, ...]
    heads: tuple[frozenset[int], ...]
    offset: int
    multiple: int
    map_bytes: float

    def delay(self, sources: frozenset[int]) -> int:
        """Returns the delay of a map that is computed from some nodes."""
        return _common({self.nodes[k].delay if k != IMAGE else 0 for k in sources})

    @functools.cached_property
    def head_delay(self) -> int:
        """The delay of the latest head; the others wait for it."""
        return max(self.delay(sources) for sources in self.heads)

    def reads(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and the last row of the image that the rows `first` to `last` of the logits read.

        They are those far from the border: rows beyond the image count.
        """
        rows = {k: (first, last) for sources in self.heads for k in sources}
        for number in range(len(self.nodes) - 1, -1, -1):
            if number not in rows:
                continue
            low, high = rows[number]
            node = self.nodes[number]
            if node.window is not None:
                low, high = node.window.reads(low, high)
            for k in frozenset().union(*node.sources):
                before = rows.get(k, (low, high))
                rows[k] = min(low, before[0]), max(high, before[1])
        return rows[IMAGE]

    @functools.cached_property
    def halo(self) -> int:
        """The largest distance, in pixels, from which logits read, over all positions in the grid of the pools."""
        spans = [(row + self.offset, *self.reads(row, row)) for row in range(self.multiple)]
        return max(max(row - low, high - row) for row, low, high in spans)

    @functools.cached_property
    def margin(self) -> int:
        """The pixels that must be added on each side of an aligned part of the logits, so that all they read is there.

        It is a multiple of `multiple`, at most `halo` rounded up; what a network with valid padding removes is not in it.
        """
        low, high = self.reads(0, self.multiple - 1)
        most = max(-low, high - (self.multiple - 1) - 2 * self.offset, 0)
        return -(-most // self.multiple) * self.multiple


# Cached, because a deep encoder takes seconds.
@functools.lru_cache(maxsize=16)
def trace(network: Any, channels: int = 1) -> Graph:
    """Returns the operators of a network.

    Args:
      network: a `Network`.
      channels: of its images.

    Raises:
      ReadsWholeMap: the network reads the whole map at once.
    """
    size, *others = (network.input_size(count * network.multiple) for count in (2, 15, 20))
    images = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    variables = jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), images)

    def record(images):
        recorder = _Recorder()

        def apply(images, variables):
            with run_operators(recorder):
                return network.apply(variables, images, train=False)

        return recorder, jax.make_jaxpr(apply)(images, variables)

    recorder, closed = record(images)
    program = closed.jaxpr
    sources: dict[int, tuple[frozenset[int], ...]] = {}
    arguments = [frozenset({IMAGE}), *[frozenset()] * (len(program.invars) - 1)]
    heads = _follow(program, arguments, sources)
    nodes: list[Node] = []
    for number, window in enumerate(recorder.windows):
        nodes.append(_node(window, sources[number], nodes))
    multiple = math.lcm(network.multiple, *(node.rate.denominator for node in nodes))
    offset = (size - network.output_size(size)) // 2
    graph = Graph(tuple(nodes), tuple(heads), offset, multiple, recorder.bytes / size**2)
    for head in graph.heads:
        # It refuses maps that are combined without a join and that no other operator reads.
        graph.delay(head)
    # Another size, and another ratio of the sides.
    again, other = record(jax.ShapeDtypeStruct((1, *others, channels), jnp.float32))
    if recorder.windows != again.windows or list(_numbers(closed)) != list(_numbers(other)):
        raise ReadsWholeMap("a number depends on the height or the width")
    return graph


class _Recorder:
    """Makes each operator one equation of the traced program, and writes down its window."""

    def __init__(self) -> None:
        # By the number of the node.
        self.windows: list[Window | None] = []
        # The most that the source and the result of an operator take together.
        self.bytes = 0

    def _record(self, function: Callable, window: Window | None) -> Callable:
        @functools.wraps(function)
        def named(*maps):
            # One operator may be written with another one.
            with run_operators(None):
                return function(*maps)

        named.__name__ = f"{_PREFIX}{len(self.windows)}"
        self.windows.append(window)
        return jax.jit(named)

    def operator(self, window: Window, band: Callable[[Map], Map], whole: Callable[[Map], Map], x: Map) -> Map:
        result = self._record(whole, window)(x)
        self.bytes = max(self.bytes, x.size * x.dtype.itemsize + result.size * result.dtype.itemsize)
        return result

    def join(self, maps: Sequence[Map]) -> list[Map]:
        return self._record(lambda *maps: list(maps), None)(*maps)

    def crop(self, x: Map, start: tuple[int, int], size: tuple[int, int]) -> Map:
        return self._record(lambda x: crop(x, start, size), Window(-start[0], start[0]))(x)


def _follow(program: Any, arguments: Sequence[frozenset[int]], sources: dict) -> list[frozenset[int]]:
    """Returns which nodes each result of a program is computed from.

    Args:
      program: a jaxpr.
      arguments: which nodes each of its arguments is computed from.
      sources: gets those of each map that a node reads, by the number of the node.

    Raises:
      ReadsWholeMap: an equation between two operators does not act on each pixel by itself, or alike on each.
    """
    of = dict(zip(program.invars, arguments, strict=True))
    if any(x.aval.size > 1 for x in program.constvars):
        raise ReadsWholeMap("a constant array may differ from row to row")
    for equation in program.eqns:
        # A literal cannot be a key.
        read = [frozenset() if isinstance(x, Literal) else of.get(x, frozenset()) for x in equation.invars]
        name, inner = equation.params.get("name", ""), list(_programs(equation))
        if isinstance(name, str) and name.startswith(_PREFIX):
            number = int(name.removeprefix(_PREFIX))
            # The kernel that a convolution reads is no map.
            sources[number] = tuple(maps for maps in read if maps)
            results = [frozenset({number})] * len(equation.outvars)
        elif equation.primitive.name in _CALLS and len(inner) == 1 and len(inner[0].invars) == len(read):
            results = _follow(inner[0], read, sources)
        else:
            results = [frozenset[int]().union(*read)] * len(equation.outvars)
            is_local = equation.primitive.name in _POINTWISE or _keeps_pixels(equation)
            # Numbers of rows: in a band they are not those of the image.
            if equation.primitive.name == "iota" or (results[0] and not is_local):
                raise ReadsWholeMap(equation.primitive.name)
        of |= zip(equation.outvars, results, strict=True)
    return [frozenset() if isinstance(x, Literal) else of.get(x, frozenset()) for x in program.outvars]


def _numbers(program: Any) -> Iterator[str]:
    """Yields the operations of a traced program and the numbers in them, except those of the operators."""
    yield from (repr(np.asarray(value)) for value in getattr(program, "consts", ()) if np.size(value) == 1)
    for equation in program.eqns:
        yield equation.primitive.name
        if not str(equation.params.get("name", "")).startswith(_PREFIX):
            yield from (repr(x.val) for x in equation.invars if isinstance(x, Literal))
            # The exponent of a power.
            yield repr(equation.params.get("y"))
            for inner in _programs(equation):
                yield from _numbers(inner)


def _programs(equation: Any) -> Iterator[Any]:
    """Yields the programs that an equation calls."""
    for value in equation.params.values():
        if hasattr(value, "eqns"):
            yield value
        elif hasattr(getattr(value, "jaxpr", None), "eqns"):
            yield value.jaxpr


def _keeps_pixels(equation: Any) -> bool:
    """Returns True for an equation over the channels alone; `[B, H, W, C]` is its first operand."""
    if not equation.invars:
        return False
    params, source, result = equation.params, equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    name = equation.primitive.name
    if len(source) < 3 or source[:3] != result[:3]:
        return False
    if name in ("reshape", "squeeze", "expand_dims", "slice"):
        return True
    if name == "broadcast_in_dim":
        return tuple(params["broadcast_dimensions"][:3]) == _PIXELS
    if name == "pad":
        return all(tuple(ends) == (0, 0, 0) for ends in params["padding_config"][:3])
    channels = len(source) - 1
    if channels < 3:
        return False
    if name in _OVER_CHANNELS:
        return tuple(params["axes"]) == (channels,)
    if name == "concatenate":
        return params["dimension"] == channels
    if name == "dot_general":
        ((left, right), batch) = params["dimension_numbers"]
        is_matrix = len(equation.invars[1].aval.shape) == 2
        return is_matrix and tuple(left) == (channels,) and tuple(right) == (0,) and not any(batch)
    if name == "conv_general_dilated":
        kernel, axes = equation.invars[1].aval.shape, params["dimension_numbers"]
        plain = {*params["window_strides"], *params["lhs_dilation"]} == {1}
        padded = any(any(ends) for ends in params["padding"])
        return tuple(axes.lhs_spec) == _NHWC and {kernel[k] for k in axes.rhs_spec[2:]} == {1} and plain and not padded
    return False


def _node(window: Window | None, sources: tuple[frozenset[int], ...], nodes: list[Node]) -> Node:
    """Returns a node, with its delay and its rate."""

    def common(value: Callable[[int], Any], maps: frozenset[int]) -> Any:
        return _common({value(k) for k in maps})

    delays = [common(lambda k: 0 if k == IMAGE else nodes[k].delay, maps) for maps in sources]
    rate = _common({common(lambda k: Fraction(1) if k == IMAGE else nodes[k].rate, maps) for maps in sources})
    if window is None:
        return Node(None, sources, max(delays), rate)
    late = -(-(delays[0] + window.after + 1 - window.stride) // window.stride)
    return Node(window, sources, window.scale * max(late, 0), rate * window.scale / window.stride)


def _common(values: set) -> Any:
    """Returns the only value of a set.

    Raises:
      ReadsWholeMap: there are several: the network combines maps without `operators.join`.
    """
    if len(values) > 1:
        raise ReadsWholeMap("maps of other rows are combined without join")
    return next(iter(values))
