"""Finds which submodule of a network reads which, and in which order, by changing one output at a time.

The outputs of all submodules are held fixed, and one of them is raised. The channels that then change at the input of a
submodule's first layer are those that it reads directly from the raised one.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from unet_jax.runtime.unoptimized_jit import jit_without_optimization

Tap = Callable[[str, jax.Array], jax.Array]


class Source(NamedTuple):
    """Describes what a submodule reads from another one.

    Attributes:
      name: the submodule that is read; "image" for the image.
      first: the first of its channels in the reader's input.
      channels: the number of its channels.
      pooled: True if its map was halved in between, and not only cropped.

    >>> str(Source("x_0_0", first=0, channels=2, pooled=True))
    'D(x_0_0):2'
    """

    name: str
    first: int
    channels: int
    pooled: bool

    def __str__(self) -> str:
        name = f"D({self.name})" if self.pooled else self.name
        return f"{name}:{self.channels}"


def _unchanged(name: str, x: jax.Array) -> jax.Array:
    return x


def reads(module: nn.Module, variables: Any, image: Any) -> dict[str, list[Source]]:
    """Returns the sources of each submodule and of each head's logits (`logits_0`, ...).

    If a submodule NAME gives several maps, each is a source: NAME_0, NAME_1, ... Dropout is not a source.

    Args:
      module: the network, which names its submodules itself.
      variables: its variables, none of them 0, as a zero hides a source.
      image: `[1, H, W, C]`, of a size that the network takes.

    Returns:
      By reader, its sources in the order of the channels of its input.

    Raises:
      ValueError: a submodule reads channels of another one that do not follow each other.
    """
    image = np.asarray(image)

    @jit_without_optimization
    def outputs(variables, image):
        maps = {}
        with tapped(on_output=lambda name, x: maps.setdefault(name, x)):
            module.apply(variables, image)
        return maps

    # Positive, so that a ReLU after a submodule passes the change.
    held = jax.tree.map(lambda x: np.abs(x) + 1, jax.device_get(outputs(variables, image)))

    @jit_without_optimization
    def inputs(variables, image, outputs):
        maps = {}
        with tapped(lambda name, x: maps.setdefault(name, x), lambda name, x: outputs[name]):
            logits = module.apply(variables, image)
        return maps | {f"logits_{k}": x for k, x in enumerate(logits)}

    before = jax.device_get(inputs(variables, image, held))
    sources_of: dict[str, list[Source]] = {name: [] for name in before}
    for source, whole in {"image": image, **held}.items():
        raised = _raised(whole)
        outer = (raised, held) if source == "image" else (image, held | {source: raised})
        for reader, x in jax.device_get(inputs(variables, *outer)).items():
            change = x - before[reader]
            places = np.flatnonzero(change.any((0, 1, 2)))
            if not len(places):
                continue
            if places[-1] - places[0] + 1 != len(places):
                raise ValueError(
                    f"{reader} reads {source} at the channels {places.tolist()}, which do not follow each other"
                )
            smaller = source != "image" and x.shape[1] < whole.shape[1]
            pooled = bool(smaller and change[..., places].min() > 1.5)
            sources_of[reader].append(Source(source, int(places[0]), len(places), pooled))
    return {reader: sorted(sources, key=lambda source: source.first) for reader, sources in sources_of.items()}


def _raised(x: np.ndarray) -> np.ndarray:
    """Raises every pixel by 1, and one of each 2x2 pixels above all others.

    A cropped map then has pixels raised by 1; a halved map has none.
    """
    raised = x + 1
    raised[:, ::2, ::2] += 2 * np.abs(x).max() + 2
    return raised


def tapped(on_input: Tap = _unchanged, on_output: Tap = _unchanged) -> AbstractContextManager[None]:
    """Creates a context in which every map between the submodules of a network passes through two functions.

    The maps of a submodule NAME that gives several are called NAME_0, NAME_1, ...; Dropout is skipped.

    Args:
      on_input: `on_input(NAME, x)` gets the input of a submodule's first layer (for a node that joins several maps, of its
        first convolution), and returns the map that replaces it.
      on_output: `on_output(NAME, x)` gets the output of a submodule, and returns the map that replaces it.
    """
    entered: set[str] = set()

    def intercept(next_function, args, kwargs, context):
        path = context.module.path
        if not path or context.method_name != "__call__" or isinstance(context.module, nn.Dropout):
            return next_function(*args, **kwargs)
        name = path[0]
        if isinstance(args[0], jax.Array) and name not in entered:
            entered.add(name)
            args = (on_input(name, args[0]), *args[1:])
        output = next_function(*args, **kwargs)
        if len(path) > 1:
            return output
        if isinstance(output, tuple):
            return tuple(on_output(f"{name}_{k}", x) for k, x in enumerate(output))
        return on_output(name, output)

    return nn.intercept_methods(intercept)
