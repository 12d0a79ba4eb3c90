"""From a config to the parts of an experiment: data set, network, loss and optimiser, checked against each other.

Here a `ConfigDict` ends: everything below takes plain keyword arguments.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from unet_jax import models
from unet_jax.data import normalization
from unet_jax.data.augment.augment import augment
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.loading import foreground
from unet_jax.data.loading.class_weights import check_rule, class_weights
from unet_jax.errors import UserError
from unet_jax.experiment import durations, ranges
from unet_jax.inference.predictor import select_heads
from unet_jax.runtime import parallel
from unet_jax.segmentation import resolve_report_classes
from unet_jax.training.losses.loss import Loss
from unet_jax.training.losses.registry import create_loss
from unet_jax.training.optim import ema, optimizer, schedules
from unet_jax.training.optim.optimizer import create_optimizer
from unet_jax.training.optim.plateau import create_plateau_rule
from unet_jax.training.state import TrainState, create_state
from unet_jax.training.step import create_train_step

PIPELINE = (
    "patch",
    "normalize",
    "foreground_fraction",
    "num_threads",
    "cache_bytes",
)  # keys of config.data that are not the data set's
START = ("encoder_weights",)  # keys of config.model that are not the network's: they tell what a run starts from
WEIGHTING = ("class_weights", "class_weighting")  # keys of config.loss that say the same in two ways
STEPPING = ("accumulate", "ema_decay", "plateau_patience", "plateau_gain")  # keys of config.optim that are not optax's
WEIGHTS = ("raw", "ema")  # of eval.weights


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts of one run, made and checked against each other."""

    dataset: Dataset
    module: nn.Module
    loss: Loss
    tx: optax.GradientTransformation
    schedule: Callable
    durations: durations.Durations
    plateau: optax.GradientTransformationExtraArgs | None  # the rule, with the schedule of that name
    stepping: dict  # keyword arguments of `create_train_step`: seed, augmentation, accumulate, ema_decay, freeze
    reading: dict  # keyword arguments of `pipeline.train_batches`: patch, normalize, margin, ...
    report_classes: tuple[str, ...]
    class_weights: tuple[float, ...]  # of the loss, one per output channel; () for equal ones

    def create_state(self, encoder_weights: str = "") -> TrainState:
        """The state at step 0; errors as of `state.create_state`."""
        return create_state(
            self.module,
            self.tx,
            seed=self.stepping["seed"],
            patch=self.reading["patch"],
            channels=self.dataset.channels,
            encoder_weights=encoder_weights,
            ema=self.stepping["ema_decay"] > 0,
            plateau=self.plateau,
        )

    def create_step(self) -> Callable:
        """The body of the training step, for `parallel.pmap_step`."""
        return create_train_step(self.module, self.loss, self.tx, self.schedule, **self.stepping)


def build_experiment(config: ConfigDict, devices=None, dataset: Dataset | None = None) -> Experiment:
    """Makes every part of the run that `config` describes; `devices` are those it will run on.

    With `dataset` the config's own is neither prepared nor opened.

    Raises:
      UserError: a value is not allowed, or two do not fit each other; before any step is run.
    """
    reading = _check_values(config)  # what needs no data first: preparing a large folder takes minutes
    _check_batch(config, devices)
    dataset = dataset or create_dataset(config)
    lengths = durations.resolve(config.train, config.optim, dataset.splits.get("train", 1))  # none: a plan without data
    options = {key: value for key, value in config.optim.items() if key not in (*STEPPING, *durations.WARMUP)}
    options |= {name: getattr(lengths, name) for name in ("num_steps", "warmup_steps", "boundaries")}
    tx, schedule = create_optimizer(**options)
    module = create_module(config, dataset.class_names, dataset.overlapping)
    select_heads(module, config.eval.mode)  # raises where there is no such mode
    weights = _class_weights(config, dataset, module.num_classes)
    if reading["foreground_fraction"] and dataset.sources:  # without any it is a plan's
        foreground.check_any(dataset.source("train"))
    loss = create_loss(
        activation=config.model.activation,
        num_classes=module.num_classes,
        **{key: value for key, value in config.loss.to_dict().items() if key not in WEIGHTING},
        class_weights=weights,
    )
    report_classes = resolve_report_classes(channel_names(module, dataset.class_names), tuple(config.eval.classes))
    patch = reading["patch"]
    reading["margin"] = (patch[0] - module.output_size(patch[0])) // 2  # raises where the network cannot take the size
    image = jax.ShapeDtypeStruct((*patch, dataset.channels), "float32")
    dry_run = functools.partial(_dry_run, module, loss, tx, config.augment.to_dict(), dataset.overlapping)
    jax.eval_shape(dry_run, image)
    stepping = {"seed": config.seed, "augmentation": config.augment.to_dict()}
    stepping |= {name: config.optim[name] for name in ("accumulate", "ema_decay", "freeze")}
    return Experiment(
        dataset, module, loss, tx, schedule, lengths, _plateau(config), stepping, reading, report_classes, weights
    )


def _check_values(config: ConfigDict) -> dict:
    ranges.check(config.to_dict())
    durations.check(config.train, config.optim)
    options = config.optim
    schedules.check(
        name=options.schedule,
        learning_rate=options.learning_rate,
        power=options.power,
        lr_drop_factor=options.lr_drop_factor,
    )
    optimizer.check(options)
    ema.check(options.ema_decay)
    if config.eval.weights not in WEIGHTS:
        raise UserError(f"eval.weights {config.eval.weights!r} is unknown; known: {', '.join(WEIGHTS)}")
    if config.eval.weights == "ema" and not options.ema_decay:
        raise UserError("eval.weights 'ema' needs an average: give optim.ema_decay a value, e.g. 0.999, or take 'raw'")
    _plateau(config)
    model = config.model
    if model.get("encoder_weights") and not model.get("encoder"):  # not every network has an encoder
        raise UserError(f"model.encoder_weights={model.encoder_weights}: the network has no encoder; set model.encoder")
    if config.loss.class_weighting:
        check_rule(config.loss.class_weighting)
    if config.loss.class_weights and config.loss.class_weighting:
        raise UserError(
            f"loss.class_weights {tuple(config.loss.class_weights)} and loss.class_weighting "
            f"{config.loss.class_weighting!r} are both set; set one of them"
        )
    if bool(config.loss.weights.weighted_cross_entropy) != config.data.weight_map:
        raise UserError(
            f"loss.weights.weighted_cross_entropy is {config.loss.weights.weighted_cross_entropy} and data.weight_map is "
            f"{config.data.weight_map}: that loss needs the map, and no other reads it; set both or neither"
        )
    reading = {key: config.data[key] for key in PIPELINE}
    patch = reading["patch"] = tuple(reading["patch"])
    if len(patch) != 2 or not all(isinstance(n, int) and n > 0 for n in patch):
        raise UserError(f"data.patch {patch} must be (height, width), two whole numbers of pixels above 0")
    if reading["normalize"] not in normalization.NORMALIZATIONS:
        known = ", ".join(normalization.NORMALIZATIONS)
        raise UserError(f"data.normalize {reading['normalize']!r} is unknown; known: {known}")
    foreground.check_fraction(reading["foreground_fraction"])
    AugmentOptions(**config.augment.to_dict())
    return reading


def _class_weights(config: ConfigDict, dataset: Dataset, num_channels: int) -> tuple[float, ...]:
    """As the config gives them, or by its rule from the training pixels."""
    rule = config.loss.class_weighting
    if not rule:
        return tuple(config.loss.class_weights)
    if num_channels == 1:
        raise UserError(
            f"loss.class_weighting {rule!r}: the network has one output channel, so there is nothing to weigh"
        )
    return class_weights(dataset, rule, config.data.cache_dir)


def _check_batch(config: ConfigDict, devices) -> None:
    batch_size, number = config.train.batch_size, config.optim.accumulate
    parallel.check_batch_size(batch_size, devices)
    if number > 1:
        if batch_size % number:
            raise UserError(
                f"train.batch_size {batch_size} is no multiple of optim.accumulate {number}: as many micro-batches are "
                "to make the batch of one step"
            )
        what = f"train.batch_size {batch_size} / optim.accumulate {number}, a micro-batch"
        parallel.check_batch_size(batch_size // number, devices, what)


def _plateau(config: ConfigDict) -> optax.GradientTransformationExtraArgs | None:
    options = config.optim
    rule = create_plateau_rule(
        factor=options.lr_drop_factor, patience=options.plateau_patience, gain=options.plateau_gain
    )
    return rule if options.schedule == "plateau" else None


def _dry_run(module, loss, tx, augmentation, overlapping, image):
    """Augmentation, network, loss, optimiser on one window, for their errors alone: shapes are traced, nothing is computed."""
    example = augment(jax.random.key(0), {"image": image}, **augmentation)
    heads, variables = module.init_with_output(jax.random.key(0), example["image"][None])
    tx.init(variables["params"])
    valid = jnp.ones(heads[-1].shape[:3], bool)
    mask = jnp.zeros(heads[-1].shape if overlapping else valid.shape, jnp.int32)
    return loss.from_sums(loss.sums(heads, mask, valid, *[jnp.zeros(valid.shape)] * loss.needs_weight_map))


def create_dataset(config: ConfigDict) -> Dataset:
    """Prepares (once) and opens the config's data set; with a sigmoid its masks may overlap, where it has such masks."""
    options = {key: value for key, value in config.data.to_dict().items() if key not in PIPELINE}
    if config.data.name == "electrodes":
        options["overlapping"] = config.model.activation == "sigmoid"
    return load_dataset(**options)


def create_module(config: ConfigDict, class_names: Sequence[str], overlapping: bool = False) -> nn.Module:
    """The config's network, with as many output channels as the data set has classes.

    With two classes and a sigmoid it has a single one: the probability of the second class.
    """
    num_classes = len(class_names)
    if config.model.activation == "sigmoid" and num_classes == 2 and not overlapping:
        num_classes = 1
    if overlapping and config.model.activation != "sigmoid":
        raise UserError(f"masks that overlap need model.activation 'sigmoid', not {config.model.activation!r}")
    options = {key: value for key, value in config.model.items() if key not in START}
    return models.build(num_classes=num_classes, axis_name=parallel.AXIS, **options)


def channel_names(module: nn.Module, class_names: Sequence[str]) -> tuple[str, ...]:
    """The class of each output channel."""
    return tuple(class_names)[-module.num_classes :]
