"""Measures the gradient of a run's loss at chosen steps, layer by layer."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from unet_jax.analysis.gradients.depth import depths, is_kernel, layer_of
from unet_jax.runs.replay import Replay
from unet_jax.runtime import parallel
from unet_jax.training.losses.loss import Loss
from unet_jax.training.state import TrainState
from unet_jax.training.step import create_gradient_fn

MEASURES = ("relative", "norm", "rms")


class Layer(NamedTuple):
    """A convolution's kernel w and the gradient g of the loss for it.

    `depth` is from `depth.depths`; `norm` is |g|, `rms` |g| / sqrt(number of weights), `relative` |g| / |w|: NaN for w = 0.
    """

    name: str
    depth: int
    norm: float
    rms: float
    relative: float


@dataclasses.dataclass(frozen=True)
class Flow:
    """The gradient of a run at a step: of the loss of the batch that the state after `step` steps is trained on next.

    `layers` are shallow to deep.
    """

    run: str
    step: int
    loss: float
    layers: tuple[Layer, ...]

    def median(self) -> float:
        """Returns the median of |g| / |w| over the layers."""
        return float(np.nanmedian([layer.relative for layer in self.layers]))

    def first_over_last(self, measure: str = "relative") -> float:
        """Returns the measure of the layer next to the image over that of the deepest head; NaN where the latter is 0."""
        first, last = (getattr(self.layers[place], measure) for place in (0, -1))
        return first / last if last else math.nan


def measure(run: str, replay: Replay, steps: Sequence[int]) -> Iterator[Flow]:
    """Yields the gradient at each of the steps, in order, training on in between; errors as for `Replay.states`."""
    parts, config = replay.parts, replay.config
    depth = depths(parts.module, parts.dataset.channels)
    gradient_of = create_host_gradient(
        parts.module,
        parts.loss,
        seed=config.seed,
        augmentation=config.augment.to_dict(),
        accumulate=config.optim.accumulate,
        devices=replay.devices,
    )
    for step, state, batch in replay.states(steps):
        loss, grads = gradient_of(state, batch)
        yield Flow(run, step, loss, tuple(layers(state.params, grads, depth)))


def create_host_gradient(
    module: nn.Module, loss: Loss, *, seed: int, augmentation: Mapping[str, float], accumulate: int = 1, devices=None
) -> Callable[[TrainState, Mapping], tuple[float, Any]]:
    """Creates `gradient_of(state, batch)`: the loss and the whole gradient that a step would use, before clipping, on the host.

    It includes frozen parts: the gradient is the loss's, whether or not the optimiser uses it. `batch` is that of all
    devices.

    Args:
      module: as for `training.step.create_gradient_fn`, and so the next ones.
      loss: of the training.
      seed: of the run.
      augmentation: the options.
      accumulate: number of micro-batches.
      devices: to run on; all local ones by default.
    """
    gradient = create_gradient_fn(module, loss, seed=seed, augmentation=augmentation, accumulate=accumulate)

    def body(state, batch):
        grads, (value, _) = gradient(state, batch)
        return state, (value, grads)

    # Filled at the first call, for its shapes.
    compiled = []

    def gradient_of(state, batch):
        arguments = parallel.replicate(state, devices), parallel.shard(batch, devices)
        if not compiled:
            compiled.append(parallel.compile_step(parallel.pmap_step(body, devices), *arguments))
        value, grads = parallel.to_host(compiled[0](*arguments)[1])
        return float(value), grads

    return gradient_of


def layers(params: Any, grads: Any, depth: dict[str, int]) -> list[Layer]:
    """Returns the gradient of every kernel, shallow to deep.

    Args:
      params: the network's parameters, on the host.
      grads: the gradient for them.
      depth: of each layer, from `depth.depths`.
    """
    weights, grads = (
        {
            layer_of(name): np.asarray(leaf, np.float64)
            for name, leaf in flatten_dict(tree, sep="/").items()
            if is_kernel(name)
        }
        for tree in (params, grads)
    )
    rows = []
    for name, place in depth.items():
        norm, size = float(np.linalg.norm(grads[name])), float(np.linalg.norm(weights[name]))
        rows.append(Layer(name, place, norm, norm / math.sqrt(grads[name].size), norm / size if size else math.nan))
    return rows
