"""Finds which part of a network reads which, in which order: it changes one output and sees whose input changes.

Every submodule's output is held at what it was, and one of them is raised. What then differs at the input of a submodule's
first layer are the channels that it reads from that one, and from nothing in between.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from unet_jax.runtime.unoptimized_jit import jit_without_optimization

Tap = Callable[[str, jax.Array], jax.Array]


class Source(NamedTuple):
    """What a submodule reads from another: its name ("image" for the image), and where in the reader's input it lies.

    `first` is the first of its `channels` channels there; `pooled` is true where its map was halved in between, not cropped.
    """

    name: str
    first: int
    channels: int
    pooled: bool

    def __str__(self) -> str:
        return f"{f'D({self.name})' if self.pooled else self.name}:{self.channels}"


def _as_it_is(name: str, x: jax.Array) -> jax.Array:
    return x


def reads(module: nn.Module, variables: Any, image: Any) -> dict[str, list[Source]]:
    """Returns what each submodule and each head's logits (`logits_0`, ...) read, in the order of their input's channels.

    Where a submodule NAME gives several maps, each is a source: NAME_0, NAME_1, ... Dropout is not a source.

    Args:
      module: a network whose parts are the submodules that it names itself.
      variables: its variables, none of them 0: what a zero hides is not found.
      image: `[1, H, W, C]`, of a size that it takes.

    Raises:
      ValueError: a submodule reads another's channels scattered between those of a third.
    """
    image = np.asarray(image)

    @jit_without_optimization
    def outputs(variables, image):
        maps = {}
        with tapped(on_output=lambda name, x: maps.setdefault(name, x)):
            module.apply(variables, image)
        return maps

    # Positive, so that a ReLU behind a submodule passes what is raised.
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
    """Raises every pixel by 1 and one of each 2x2 above all others: cropped, a map has pixels raised by 1; halved, it has none."""
    raised = x + 1
    raised[:, ::2, ::2] += 2 * np.abs(x).max() + 2
    return raised


def tapped(on_input: Tap = _as_it_is, on_output: Tap = _as_it_is):
    """Creates a context in which a network's `apply` passes every map between its submodules through two functions.

    `on_input(NAME, x)` gets what the first layer of a submodule is given (of a node that joins several maps, what its first
    convolution is), `on_output(NAME, x)` what the submodule gives; what they return replaces it. The maps of a submodule that
    gives several are called NAME_0, NAME_1, ...; Dropout is skipped.
    """
    entered = set()

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
