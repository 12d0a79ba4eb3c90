"""From a config to the parts of an experiment: data set, network, loss and optimiser, checked against each other.

Here a `ConfigDict` ends: everything below takes plain keyword arguments.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from unet_jax import data, models, parallel
from unet_jax.data import pipeline
from unet_jax.data.augment import augment
from unet_jax.errors import UserError
from unet_jax.evaluation.metrics import resolve_keep
from unet_jax.inference.predict import select
from unet_jax.training import losses, optim

PIPELINE = ("patch", "normalize", "num_threads", "cache_bytes")  # keys of config.data that are not the data set's

AT_LEAST = {  # the least value of each whole number
    "train.num_steps": 1,
    "train.log_every": 1,
    "train.eval_every": 1,
    "eval.batch_size": 1,
    "eval.bucket": 1,
    "eval.num_pictures": 0,
    "checkpoint.every": 0,
    "checkpoint.latest": 1,
    "data.num_threads": 1,
    "data.cache_bytes": 0,
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts of one run, made and checked against each other."""

    dataset: data.Dataset
    module: nn.Module
    loss: losses.Loss
    tx: optax.GradientTransformation
    schedule: Callable
    reading: dict  # patch, normalize, num_threads, cache_bytes
    keep: tuple[str, ...]


def create(config: ConfigDict, devices=None) -> Experiment:
    """Makes every part of the run that `config` describes; `devices` are those it will run on.

    Raises:
      UserError: a value is not allowed, or two do not fit each other; before any step is run.
    """
    dataset = create_dataset(config)
    module = create_module(config, dataset.class_names, dataset.overlapping)
    select(module, config.eval.mode)  # raises where there is no such mode
    reading = {key: config.data[key] for key in PIPELINE}
    patch = reading["patch"] = tuple(reading["patch"])
    if len(patch) != 2 or min(patch) < 1:
        raise UserError(f"data.patch {patch} must be (height, width) in pixels, both above 0")
    for size in patch:
        module.output_size(size)  # raises where the network cannot take the size
    if reading["normalize"] not in pipeline.NORMALIZATIONS:
        raise UserError(
            f"data.normalize {reading['normalize']!r} is unknown; known: {', '.join(pipeline.NORMALIZATIONS)}"
        )
    train = config.train
    for name, least in AT_LEAST.items():
        section, _, key = name.partition(".")
        if config[section][key] < least:
            raise UserError(f"{name} {config[section][key]} must be at least {least}")
    parallel.check_batch_size(train.batch_size, devices)
    window = {"image": jax.ShapeDtypeStruct((*patch, dataset.channels), "float32")}
    jax.eval_shape(functools.partial(augment, **config.augment), jax.random.key(0), window)  # raises on bad strengths
    loss = losses.create(activation=config.model.activation, num_classes=module.num_classes, **config.loss.to_dict())
    tx, schedule = optim.create(num_steps=train.num_steps, **config.optim)
    keep = resolve_keep(channel_names(module, dataset.class_names), tuple(config.eval.keep))
    return Experiment(dataset, module, loss, tx, schedule, reading, keep)


def create_dataset(config: ConfigDict) -> data.Dataset:
    """Prepares (once) and opens the config's data set."""
    options = {key: value for key, value in config.data.items() if key not in PIPELINE}
    return data.load(**options)


def create_module(config: ConfigDict, class_names: Sequence[str], overlapping: bool = False) -> nn.Module:
    """The config's network, with as many output channels as the data set has classes.

    With two classes and a sigmoid it has a single one: the probability of the second class.
    """
    num_classes = len(class_names)
    if config.model.activation == "sigmoid" and num_classes == 2 and not overlapping:
        num_classes = 1
    if overlapping and config.model.activation != "sigmoid":
        raise UserError(
            f"data.overlapping: masks that overlap need model.activation 'sigmoid', not {config.model.activation!r}"
        )
    return models.build(num_classes=num_classes, axis_name=parallel.AXIS, **config.model)


def channel_names(module: nn.Module, class_names: Sequence[str]) -> tuple[str, ...]:
    """The class of each output channel."""
    return tuple(class_names)[-module.num_classes :]
