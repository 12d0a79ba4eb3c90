"""Finds the nodes and skip connections of any network from its wiring (`analysis/wiring.py`) and the sizes of its maps.

U is a submodule whose output has more pixels than its input. Submodules at one level that read each other, with the same
U before them, are one node: enc_i, x^{i,j}, a dense block, the convolutions of FCN between two pools.

A skip connection is any input that is joined with an up-sampled map and does not derive from it. Inputs with the same
up-sampling history count as one: the maps of a dense block are one skip, x^{i,0} and x^{i,1} are two. In networks that add
scores (FCN) each finer summand is a skip.
"""

import functools
import math
from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from unet_jax.analysis import wiring

# Height and width in pixels. At this size, margins and borders do not hide how often a map was halved.
LARGE = 2048


class Place(NamedTuple):
    """Names channels of a map that passes between submodules.

    Attributes:
      name: the submodule.
      end: "in" for its input, "out" for its output.
      first: the first of the channels.
      channels: their number.
    """

    name: str
    end: str
    first: int
    channels: int


class Part(NamedTuple):
    """Describes a node or a skip connection.

    Attributes:
      kind: "node" or "skip".
      name: its name.
      source: the node that a skip leads from; for a node, its name.
      reader: the node that a skip leads to; for a node, its name.
      places: the places where its map is replaced.
    """

    kind: str
    name: str
    source: str
    reader: str
    places: tuple[Place, ...]


class Join(NamedTuple):
    """Describes the maps that a node concatenates.

    Attributes:
      node: name of the node.
      level: its level.
      reader: the submodule that reads the maps.
      maps: by name, "U" first, the channels of each map in the reader's input.
    """

    node: str
    level: int
    reader: str
    maps: dict[str, list[int]]


class Graph(NamedTuple):
    """Describes the nodes of a network and their connections.

    Attributes:
      level: level by node: how often its maps were halved.
      column: column by node: the number of nodes on the longest path to it.
      nodes: the nodes.
      skips: the skip connections.
      joins: the maps that nodes concatenate.
      edges: pairs (source, reader) that are not skip connections.
    """

    level: dict[str, int]
    column: dict[str, int]
    nodes: tuple[Part, ...]
    skips: tuple[Part, ...]
    joins: tuple[Join, ...]
    edges: tuple[tuple[str, str], ...]


def find(module: nn.Module, variables: Any, channels: int) -> Graph:
    """Finds the graph of a network.

    Args:
      module: the network.
      variables: its variables, none of them 0.
      channels: channels of the image.
    """
    return _Finder(module, variables, channels).graph()


class _Finder:
    """Derives the graph from the wiring and the levels of a network."""

    def __init__(self, module: nn.Module, variables: Any, channels: int):
        size = module.input_size(max(32, module.multiple))
        image = np.random.default_rng(0).normal(size=(1, size, size, channels)).astype(np.float32)
        self.reads = wiring.reads(module, variables, image)
        self.level, self.ups = _sizes(module, variables, channels)
        self.read = {source.name for sources in self.reads.values() for source in sources} - {"image"}
        self.tops = {source.name for reader in self.reads if _is_logits(reader) for source in self.reads[reader]}
        self.sums = [reader for reader in self.reads if _is_logits(reader) and len(self.reads[reader]) > 1]
        for reader in self.sums:
            self.level[reader] = min(self.level[source.name] for source in self.reads[reader])

    def sources(self, name: str) -> list[wiring.Source]:
        """Returns the sources of a submodule; `name` is the submodule (NAME) or one of its maps (NAME_k)."""
        return self.reads.get(name) or self.reads.get(name.rpartition("_")[0], [])

    # The cache lives as long as the search.
    @functools.cache  # noqa: B019
    def behind(self, name: str) -> frozenset[str]:
        """Returns every submodule that a map depends on."""
        direct = {source.name for source in self.sources(name)} - {"image"}
        return frozenset(direct).union(*(self.behind(source) for source in direct))

    def ups_behind(self, name: str) -> frozenset[str]:
        """Returns every U that a map depends on."""
        return self.behind(name) & self.ups

    @functools.cached_property
    def node_of(self) -> dict[str, str]:
        """Maps a submodule, or one of its maps, to its node; U and the submodules that give logits have no node."""
        inner = sorted(self.read - self.ups - self.tops)
        root = {name: name for name in inner}

        def top(name):
            return name if root[name] == name else top(root[name])

        for name in inner:
            for source in (source.name for source in self.sources(name)):
                same = source in root and self.level[source] == self.level[name]
                if same and self.ups_behind(source) == self.ups_behind(name):
                    root[top(name)] = top(source)
        groups: dict[str, list[str]] = {}
        for name in inner:
            groups.setdefault(top(name), []).append(name)
        return {name: _stem(group) for group in groups.values() for name in group}

    def nodes_of(self, name: str) -> list[str]:
        """Returns the node of a map; for U and for a score, the nodes that they read."""
        if name in self.node_of:
            return [self.node_of[name]]
        return [node for source in self.sources(name) if source.name != "image" for node in self.nodes_of(source.name)]

    def joined(self) -> dict[tuple, list[tuple[str, wiring.Source]]]:
        """Returns (reader, source) of each skip, by the U that it is joined with and the set of U before it."""
        pairs: dict[tuple, list[tuple[str, wiring.Source]]] = {}
        for reader, sources in self.reads.items():
            for up in (source.name for source in sources if source.name in self.ups):
                for source in sources:
                    if source.name not in self.ups and up not in self.behind(source.name):
                        pairs.setdefault((up, self.ups_behind(source.name)), []).append((reader, source))
        return pairs

    def skips(self) -> list[Part]:
        """Returns the skip connections: inputs joined with an up-sampled map, then the finer summands of sums."""
        parts = []
        for pairs in self.joined().values():
            last = max(pairs, key=lambda pair: pair[1].first)[1].name
            reader = next(self.node_of[reader] for reader, _ in pairs if reader in self.node_of)
            source = self.node_of[last]
            places = tuple(Place(reader, "in", s.first, s.channels) for reader, s in pairs)
            parts.append(Part("skip", f"{source} -> {reader}", source, reader, places))
        for reader in self.sums:
            deepest = max(self.level[source.name] for source in self.reads[reader])
            for summand in (source for source in self.reads[reader] if self.level[source.name] < deepest):
                place = Place(summand.name, "out", 0, summand.channels)
                parts.append(Part("skip", summand.name, self.nodes_of(summand.name)[-1], reader, (place,)))
        return parts

    def joins(self) -> list[Join]:
        """Returns the maps that each node concatenates with an up-sampled one."""
        joins: dict[str, Join] = {}
        for (up, _), pairs in self.joined().items():
            reader = next(reader for reader, _ in pairs if reader in self.node_of)
            node = self.node_of[reader]
            join = joins.setdefault(node, Join(node, self.level[reader], reader, {}))
            sources = [source for other, source in pairs if other == reader]
            (u,) = [source for source in self.reads[reader] if source.name == up]
            join.maps.setdefault("U", list(range(u.first, u.first + u.channels)))
            name = self.node_of[max(sources, key=lambda source: source.first).name]
            join.maps[name] = [c for source in sources for c in range(source.first, source.first + source.channels)]
        return list(joins.values())

    def graph(self) -> Graph:
        """Returns the graph, with nodes in the order of their columns."""
        skips = self.skips()
        node_of = self.node_of | {reader: reader for reader in self.sums}
        level = {node: self.level[name] for name, node in node_of.items()}
        skipped = {(reader, source.name) for pairs in self.joined().values() for reader, source in pairs}
        # The skips of sums.
        skipped |= {(skip.reader, skip.name) for skip in skips}
        edges = {
            (source, node)
            for name, node in node_of.items()
            for read in self.sources(name)
            if read.name != "image" and (name, read.name) not in skipped
            for source in self.nodes_of(read.name)
            if source != node
        }

        @functools.cache
        def column(node):
            return max((1 + column(source) for source, reader in edges if reader == node), default=level[node])

        columns = {node: column(node) for node in sorted(level, key=lambda node: (column(node), node))}
        # The channels of each map, as its readers see it.
        outputs = {source.name: source.channels for sources in self.reads.values() for source in sources}
        nodes = [
            Part("node", node, node, node, tuple(Place(n, "out", 0, outputs[n]) for n in self.members(node)))
            for node in columns
            if node not in self.sums
        ]
        order = {node: k for k, node in enumerate(columns)}
        return Graph(
            level={node: level[node] for node in columns},
            column=columns,
            nodes=tuple(nodes),
            skips=tuple(sorted(skips, key=lambda part: (level[part.reader], order[part.reader], order[part.source]))),
            joins=tuple(sorted(self.joins(), key=lambda join: (join.level, order[join.node]))),
            edges=tuple(sorted(edges)),
        )

    def members(self, node: str) -> list[str]:
        """Returns the submodules of a node."""
        return sorted(name for name, node_of_name in self.node_of.items() if node_of_name == node)


def _sizes(module: nn.Module, variables: Any, channels: int) -> tuple[dict[str, int], set[str]]:
    """Returns how often each map was halved, and the submodules U that enlarge a map; only shapes are computed."""
    size = module.input_size(math.ceil(LARGE / module.multiple) * module.multiple)
    inputs: dict[str, int] = {}
    outputs: dict[str, int] = {}

    def note(pixels, name, x):
        pixels[name] = x.shape[1]
        return x

    def trace(variables, image):
        with wiring.tapped(functools.partial(note, inputs), functools.partial(note, outputs)):
            return module.apply(variables, image)

    jax.eval_shape(trace, variables, jax.ShapeDtypeStruct((1, size, size, channels), np.float32))
    level = {name: max(0, round(math.log2(size / pixels))) for name, pixels in outputs.items()}
    return level, {name for name, pixels in outputs.items() if name in inputs and pixels > inputs[name]}


def _stem(group: list[str]) -> str:
    """Names a node after its only submodule, or by the commonest name of its submodules without the final number."""
    if len(group) == 1:
        return group[0]
    stems = Counter(stem for stem in (name.rpartition("_")[0] for name in sorted(group)) if stem)
    return stems.most_common(1)[0][0]


def _is_logits(reader: str) -> bool:
    return reader.startswith("logits_")
