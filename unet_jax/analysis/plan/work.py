"""Builds the config's training step from shapes, without computing anything."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from unet_jax.data.dataset import Dataset
from unet_jax.errors import UserError
from unet_jax.experiment.build import build_experiment, create_dataset
from unet_jax.training.state import count_parameters


@dataclasses.dataclass(frozen=True)
class Work:
    """Describes a training step to compile.

    Attributes:
      step: the body, `(state, batch) -> (state, metrics)`.
      state: shapes of the run's state.
      example: shapes of one example of a batch: image, mask, valid.
      batch_size: examples of a step over all devices.
      accumulate: number of micro-batches of a device; its examples are a multiple of it.
      finer: the step with twice as many micro-batches; None if `accumulate` is 1.
    """

    step: Callable
    state: Any
    example: dict[str, jax.ShapeDtypeStruct]
    batch_size: int
    accumulate: int = 1
    finer: Callable | None = None

    def rows(self, number: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the shapes of `number` examples."""
        return {name: jax.ShapeDtypeStruct((number, *x.shape), x.dtype) for name, x in self.example.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each part of the state and of an example, and the number of parameters."""
        return {
            "parameters": count_parameters(self.state.params),
            "parameter_bytes": tree_bytes(self.state.params),
            "statistics_bytes": tree_bytes(self.state.batch_stats),
            "optimiser_bytes": tree_bytes(self.state.opt_state),
            "average_bytes": tree_bytes(self.state.ema),
            "example_bytes": tree_bytes(self.example),
        }


def tree_bytes(tree: Any) -> int:
    """Returns the bytes of all leaves of arrays or shapes.

    >>> tree_bytes({"a": jnp.zeros((2, 3), jnp.float32), "b": jnp.zeros(5, jnp.bool_)})
    29
    """
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def open_data(config: ConfigDict, channels: int = 0, classes: int = 0, overlapping: bool = False) -> Dataset:
    """Opens the config's data set as training does, or makes up one without examples.

    Args:
      config: config of the run.
      channels: channels of an image; with `classes`, a data set without examples is made up.
      classes: classes of a mask, background included.
      overlapping: True for masks that may overlap, in a made-up data set.

    Raises:
      UserError: the data cannot be opened, or only one of `channels` and `classes` is given.
    """
    if bool(channels) != bool(classes):
        raise UserError(f"--channels={channels} --classes={classes}: give both, or none to use the config's data set")
    if not channels:
        try:
            return create_dataset(config)
        except UserError as error:
            raise UserError(f"{error}; or plan without data: give --channels and --classes") from error
    return Dataset(
        name=config.data.name,
        class_names=tuple(f"class_{number}" for number in range(classes)),
        channels=channels,
        overlapping=overlapping,
        fingerprint="",
        dtype="uint8",
        sources={},
    )


def create_work(config: ConfigDict, dataset: Dataset, devices: Sequence[jax.Device] | None) -> Work:
    """Builds the training step of a run, with the checks of a run.

    Args:
      config: config of the run.
      dataset: the data set, from `open_data`.
      devices: devices that share the batch; None for all local ones.

    Raises:
      UserError: the config does not train, or its batch does not divide over the devices.
    """
    if not dataset.sources:
        # The names and weights of the classes, and the number of examples, are unknown.
        config = ConfigDict(config.to_dict())
        config.eval.classes, config.loss.class_weighting = (), ""
        config.train.update(num_steps=1, num_epochs=0.0, num_examples=0)
        config.train.update(eval_every=1, eval_every_epochs=0.0, eval_every_examples=0)
        config.optim.update(schedule="constant", boundaries=(), warmup_steps=0, warmup_epochs=0.0, warmup_examples=0)
    parts = build_experiment(config, devices, dataset)
    patch, classes = parts.loading_options["patch"], len(dataset.class_names)
    step = parts.create_step()
    state = jax.eval_shape(parts.create_state)
    example = {
        "image": jax.ShapeDtypeStruct((*patch, dataset.channels), jnp.float32),
        "mask": jax.ShapeDtypeStruct((*patch, classes) if dataset.overlapping else patch, jnp.int32),
        "valid": jax.ShapeDtypeStruct(patch, jnp.bool_),
    }
    if parts.loss.needs_weight_map:
        example["weight"] = jax.ShapeDtypeStruct(patch, jnp.float32)
    batch_size, accumulate, finer = config.train.batch_size, config.optim.accumulate, None
    if accumulate > 1:
        config = ConfigDict(config.to_dict())
        # With a larger batch, durations in epochs or examples would be fewer steps.
        in_steps = parts.durations
        config.train.update(num_steps=in_steps.num_steps, num_epochs=0.0, num_examples=0)
        config.train.update(eval_every=in_steps.eval_every, eval_every_epochs=0.0, eval_every_examples=0)
        config.optim.update(boundaries=in_steps.boundaries, warmup_steps=in_steps.warmup_steps)
        config.optim.update(warmup_epochs=0.0, warmup_examples=0)
        config.optim.accumulate *= 2
        # So that a device's examples stay a multiple of the micro-batches.
        config.train.batch_size *= 2
        finer = build_experiment(config, devices, dataset).create_step()
    return Work(step, state, example, batch_size, accumulate, finer)
