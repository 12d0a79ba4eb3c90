"""Measures the gradient of a run's loss at chosen steps, layer by layer."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
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
    """Holds the gradient g of the loss for the kernel w of one convolution.

    Attributes:
      name: name of the layer.
      depth: depth of the layer, from `depth.depths`.
      norm: |g|.
      rms: |g| / sqrt(number of weights).
      relative: |g| / |w|; NaN for w = 0.
    """

    name: str
    depth: int
    norm: float
    rms: float
    relative: float


@dataclasses.dataclass(frozen=True)
class Flow:
    """Holds the gradient of a run at a step.

    Attributes:
      run: name of the run.
      step: the number of steps done. The batch is the one that this state is trained on next.
      loss: loss of the batch.
      layers: gradients by layer, shallow to deep.
    """

    run: str
    step: int
    loss: float
    layers: tuple[Layer, ...]

    def median(self) -> float:
        """Returns the median of |g| / |w| over the layers."""
        return float(np.nanmedian([layer.relative for layer in self.layers]))

    def first_over_last(self, measure: str = "relative") -> float:
        """Returns the measure of the layer that reads the image, divided by that of the deepest head.

        Args:
          measure: "relative", "norm" or "rms".

        Returns:
          The ratio; NaN if the measure of the deepest head is 0.
        """
        first, last = (getattr(self.layers[place], measure) for place in (0, -1))
        return first / last if last else math.nan


def measure(run: str, replay: Replay, steps: Sequence[int]) -> Iterator[Flow]:
    """Yields the gradient at each step, in order, and trains the run between the steps.

    Args:
      run: name of the run.
      replay: the run.
      steps: the steps.

    Raises:
      UserError: as for `Replay.states`.
    """
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
    module: nn.Module,
    loss: Loss,
    *,
    seed: int,
    augmentation: Mapping[str, Any],
    accumulate: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Callable[[TrainState, Mapping], tuple[float, Any]]:
    """Creates a function that computes the loss and its gradient as a training step does, before clipping.

    The gradient includes frozen parts, which the optimiser does not use.

    Args:
      module: the network.
      loss: loss of the training.
      seed: seed of the run.
      augmentation: options of the augmentation.
      accumulate: number of micro-batches.
      devices: devices to run on; all local ones by default.

    Returns:
      `gradient_of(state, batch)`, which returns the loss and the gradient, on the host. The batch is that of all devices.
    """
    gradient = create_gradient_fn(module, loss, seed=seed, augmentation=augmentation, accumulate=accumulate)

    def body(state, batch):
        grads, (value, _) = gradient(state, batch)
        return state, (value, grads)

    # Filled at the first call, which gives the shapes.
    compiled: list[Callable] = []

    def gradient_of(state, batch):
        arguments = parallel.replicate(state, devices), parallel.shard(batch, devices)
        if not compiled:
            compiled.append(parallel.compile_step(parallel.pmap_step(body, devices), *arguments))
        value, grads = parallel.to_host(compiled[0](*arguments)[1])
        return float(value), grads

    return gradient_of


def layers(params: Any, grads: Any, depth: Mapping[str, int]) -> list[Layer]:
    """Returns the gradient of every kernel, shallow to deep.

    Args:
      params: the network's parameters, on the host.
      grads: the gradient for the parameters.
      depth: depth of each layer, from `depth.depths`.
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
