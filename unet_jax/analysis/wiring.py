"""Which part of a network reads which, in which order, found by changing one's output and looking whose input changes.

Every submodule's output is held at what it was, and one of them is raised. What then differs at the input of a submodule's
first layer are the channels that it reads from that one, and from nothing in between.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from unet_jax.analysis.quick import quick_jit


class Source(NamedTuple):
    """What a submodule reads from another: its name ("image" for the image), and where in the reader's input it lies.

    `first` is the first of its `channels` channels there, `pooled` tells that its map was halved in between, which a crop
    does not do.
    """

    name: str
    first: int
    channels: int
    pooled: bool

    def __str__(self) -> str:
        return f"{f'D({self.name})' if self.pooled else self.name}:{self.channels}"


def reads(module: nn.Module, variables: Any, image: Any) -> dict[str, list[Source]]:
    """What each submodule and each head's logits (`logits_0`, ...) read, in the order of their input's channels.

    Of a submodule NAME that gives several maps, each is a source of its own, NAME_0, NAME_1, ...; Dropout is none.

    Args:
      module: a network whose parts are the submodules that it names itself.
      variables: its variables, none of them 0: what a zero hides is not found.
      image: `[1, H, W, C]`, of a size that it takes.

    Raises:
      ValueError: a submodule reads another's channels scattered between those of a third.
    """
    image = np.asarray(image)

    @quick_jit
    def outputs(variables, image):
        probe = _Probe()
        with nn.intercept_methods(probe):
            module.apply(variables, image)
        return probe.outputs

    # Positive, so that a ReLU behind a submodule passes what is raised.
    held = jax.tree.map(lambda x: np.abs(x) + 1, jax.device_get(outputs(variables, image)))

    @quick_jit
    def inputs(variables, image, outputs):
        probe = _Probe(outputs)
        with nn.intercept_methods(probe):
            logits = module.apply(variables, image)
        return probe.inputs | {f"logits_{k}": x for k, x in enumerate(logits)}

    before = jax.device_get(inputs(variables, image, held))
    found: dict[str, list[Source]] = {name: [] for name in before}
    maps = {"image": ("image", 0)} | {
        f"{name}_{k}" if isinstance(output, tuple) else name: (name, k)
        for name, output in held.items()
        for k in range(len(output) if isinstance(output, tuple) else 1)
    }
    for source, (name, k) in maps.items():
        whole = held.get(name, image)
        if isinstance(whole, tuple):
            given, raised = whole[k], (*whole[:k], _raised(whole[k]), *whole[k + 1 :])
        else:
            given, raised = whole, _raised(whole)
        outer = (raised, held) if source == "image" else (image, held | {name: raised})
        for reader, x in jax.device_get(inputs(variables, *outer)).items():
            change = x - before[reader]
            places = np.flatnonzero(change.any((0, 1, 2)))
            if not len(places):
                continue
            if places[-1] - places[0] + 1 != len(places):
                raise ValueError(
                    f"{reader} reads {source} at the channels {places.tolist()}, which do not follow each other"
                )
            smaller = source != "image" and x.shape[1] < given.shape[1]
            pooled = bool(smaller and change[..., places].min() > 1.5)
            found[reader].append(Source(source, int(places[0]), len(places), pooled))
    return {reader: sorted(sources, key=lambda source: source.first) for reader, sources in found.items()}


def _raised(x: np.ndarray) -> np.ndarray:
    """Every pixel raised by 1, and one of each 2x2 above all: halved, a map has no pixel raised by 1 alone; cropped, it has."""
    raised = x + 1
    raised[:, ::2, ::2] += 2 * np.abs(x).max() + 2
    return raised


class _Probe:
    """Records what every submodule gives and what its first layer is given; gives `held` outputs in their place."""

    def __init__(self, held=None):
        self.inputs, self.outputs, self.held = {}, {}, held

    def __call__(self, next_function, args, kwargs, context):
        path = context.module.path
        if not path or context.method_name != "__call__" or isinstance(context.module, nn.Dropout):
            return next_function(*args, **kwargs)
        if isinstance(args[0], jax.Array) and path[0] not in self.inputs:
            self.inputs[path[0]] = args[0]  # of a node that joins several maps: of its first convolution
        output = next_function(*args, **kwargs)
        if len(path) > 1:
            return output
        self.outputs[path[0]] = output
        return self.held[path[0]] if self.held else output
