"""From a config to the parts of an experiment: data set, network, loss and optimiser, checked against each other.

The rooms below take plain keyword arguments, never a `ConfigDict`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from unet_jax.data.annotations.cached import take_annotations
from unet_jax.data.augment.augment import augment
from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.loading import foreground
from unet_jax.data.loading.class_weights import class_weights
from unet_jax.errors import UserError
from unet_jax.experiment.durations import Durations
from unet_jax.experiment.imports import rows_of
from unet_jax.experiment.sections import DataSection, ModelSection, Sections, read_data, read_model, read_sections
from unet_jax.models.network import Network
from unet_jax.runtime import parallel
from unet_jax.segmentation import resolve_report_classes
from unet_jax.training.losses.loss import Loss
from unet_jax.training.losses.registry import create_loss
from unet_jax.training.optim.optimizer import create_optimizer
from unet_jax.training.optim.plateau import create_plateau_rule
from unet_jax.training.state import TrainState, create_state
from unet_jax.training.step import create_train_step


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts of one run, made and checked against each other.

    Attributes:
      sections: the config, checked.
      dataset: the data set to train and score on.
      module: the network.
      loss: the loss of the network's heads.
      tx: the optimiser.
      schedule: the learning rate by step.
      durations: the durations in steps.
      plateau: the rule of the schedule "plateau"; None with any other schedule.
      step_options: keyword arguments of `create_train_step`: seed, augmentation, accumulate, ema_decay, freeze.
      loading_options: keyword arguments of `train_pipeline.train_batches`: patch, normalize, margin, ...
      report_classes: the classes that are scored.
      class_weights: weights of the loss, one per output channel; () for equal weights.
      state_bytes: bytes of the parameters, the running statistics and the state of the optimiser.
    """

    sections: Sections
    dataset: Dataset
    module: Network
    loss: Loss
    tx: optax.GradientTransformation
    schedule: Callable
    durations: Durations
    plateau: optax.GradientTransformationExtraArgs | None
    step_options: Mapping[str, Any]
    loading_options: Mapping[str, Any]
    report_classes: tuple[str, ...]
    class_weights: tuple[float, ...]
    state_bytes: int

    def create_state(self, encoder_weights: str = "") -> TrainState:
        """Builds the state at step 0.

        Args:
          encoder_weights: a file of weights that the encoder starts from; "" for random weights.

        Raises:
          UserError: as `state.create_state`.
        """
        return create_state(
            self.module,
            self.tx,
            seed=self.step_options["seed"],
            patch=self.loading_options["patch"],
            channels=self.dataset.channels,
            encoder_weights=encoder_weights,
            ema=self.step_options["ema_decay"] > 0,
            plateau=self.plateau,
        )

    def least_bytes(self, process_count: int) -> int:
        """Returns the bytes of the state and of one process's images of a batch, the least that a training step takes.

        Args:
          process_count: the number of processes that share a batch.
        """
        height, width = self.loading_options["patch"]
        pixels = self.sections.train.batch_size // process_count * height * width
        return self.state_bytes + 4 * pixels * self.dataset.channels

    def create_step(self) -> Callable:
        """Builds the body of the training step, for `parallel.pmap_step`."""
        return create_train_step(self.module, self.loss, self.tx, self.schedule, **self.step_options)


def build_experiment(
    config: ConfigDict, devices: Sequence[jax.Device] | None = None, dataset: Dataset | None = None
) -> Experiment:
    """Builds every part of the run that `config` describes. Takes no step.

    Args:
      config: a config with the keys of `configs/default.py`.
      devices: the devices of the run; all local ones by default.
      dataset: a data set to use instead of the config's, which is then neither prepared nor opened.

    Raises:
      UserError: a value is not allowed, or two values do not go together.
    """
    # What needs no data comes first: preparing a large folder takes minutes.
    sections = read_sections(config)
    with rows_of(sections.imports):
        return _build_parts(sections, devices, dataset)


def create_dataset(config: ConfigDict) -> Dataset:
    """Prepares the config's data set, if that has not been done yet, and opens it.

    The masks of the set "electrodes" overlap where the network has a sigmoid.

    Args:
      config: a config with the keys of `configs/default.py`; its sections "data" and "model" are read.

    Raises:
      UserError: as `read_sections` and `load_dataset`.
    """
    data, _ = read_data(config)
    with rows_of(config.get("imports", ())):
        return _open_dataset(data, read_model(config))


def create_module(config: ConfigDict, class_names: Sequence[str], overlapping: bool = False) -> Network:
    """Builds the config's network, with as many output channels as the data set has classes.

    With two classes and a sigmoid it has one channel: the probability of the second class.

    Args:
      config: a config with the keys of `configs/default.py`; its section "model" is read.
      class_names: the classes of the data set.
      overlapping: True where a pixel may have several classes.

    Raises:
      UserError: masks overlap and the network has a softmax; or as `models.build`.
    """
    with rows_of(config.get("imports", ())):
        return _build_module(read_model(config), class_names, overlapping)


def channel_names(module: Network, class_names: Sequence[str]) -> tuple[str, ...]:
    """Returns the class of each output channel.

    Args:
      module: the network.
      class_names: the classes of the data set.
    """
    return tuple(class_names)[-module.num_classes :]


def _build_parts(sections: Sections, devices: Sequence[jax.Device] | None, dataset: Dataset | None) -> Experiment:
    """Builds the parts of a run from its checked sections."""
    optim, train = sections.optim, sections.train
    _check_devices(train.batch_size, optim.accumulate, devices)
    plateau = create_plateau_rule(
        lr_drop_factor=optim.lr_drop_factor, patience=optim.plateau_patience, gain=optim.plateau_gain
    )
    dataset = dataset or _open_dataset(sections.data, sections.model)
    if sections.loading.normalize == "range" and not sections.loading.range and dataset.dtype == "float32":
        raise UserError(
            f"data.normalize is 'range', and the images of {dataset.name} are floats, whose type has no largest value; set "
            "data.range=(LOW, HIGH), or data.normalize='image'"
        )
    # A plan without data has no training images.
    durations = sections.resolve_durations(dataset.splits.get("train", 1))
    tx, schedule = create_optimizer(
        **optim.optimizer_options,
        num_steps=durations.num_steps,
        warmup_steps=durations.warmup_steps,
        boundaries=durations.boundaries,
    )
    module = _build_module(sections.model, dataset.class_names, dataset.overlapping)
    if sections.loading.foreground_fraction and dataset.sources:
        foreground.check_any(dataset.source("train"))
    weights = _class_weights(sections, dataset, module.num_classes)
    loss = create_loss(
        weights=sections.loss.weights,
        activation=module.activation,
        num_classes=module.num_classes,
        class_weights=weights,
        head_weights=sections.loss.head_weights,
        options=sections.loss.options,
    )
    report_classes = resolve_report_classes(channel_names(module, dataset.class_names), sections.eval.classes)
    patch, augmentation = sections.loading.patch, dataclasses.asdict(sections.augment)
    # Raises where the network cannot take the size.
    margin = (patch[0] - module.output_size(patch[0])) // 2
    image = jax.ShapeDtypeStruct((*patch, dataset.channels), "float32")
    _, state = jax.eval_shape(functools.partial(_dry_run, module, loss, tx, augmentation, dataset.overlapping), image)
    return Experiment(
        sections=sections,
        dataset=dataset,
        module=module,
        loss=loss,
        tx=tx,
        schedule=schedule,
        durations=durations,
        plateau=plateau if optim.schedule == "plateau" else None,
        step_options={
            "seed": sections.seed,
            "augmentation": augmentation,
            "accumulate": optim.accumulate,
            "ema_decay": optim.ema_decay,
            "freeze": optim.freeze,
        },
        loading_options={**sections.loading.options, "margin": margin},
        report_classes=report_classes,
        class_weights=weights,
        state_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
    )


def _open_dataset(data: DataSection, model: ModelSection) -> Dataset:
    options = {**data.values(), **data.options}
    del options["options"]
    if data.name == "electrodes":
        options["overlapping"] = model.activation == "sigmoid"
    if data.name == "image_folder":
        take_annotations(options)
    return load_dataset(**options)


def _build_module(model: ModelSection, class_names: Sequence[str], overlapping: bool) -> Network:
    num_classes = len(class_names)
    if model.activation == "sigmoid" and num_classes == 2 and not overlapping:
        num_classes = 1
    if overlapping and model.activation != "sigmoid":
        raise UserError(
            f"model.activation {model.activation!r}: the data set's masks overlap; give 'sigmoid', which allows that"
        )
    return model.build(num_classes, axis_name=parallel.AXIS)


def _class_weights(sections: Sections, dataset: Dataset, num_channels: int) -> tuple[float, ...]:
    """Returns the class weights that the config gives, or those that its rule computes from the training pixels."""
    rule = sections.loss.class_weighting
    if not rule:
        return sections.loss.class_weights
    if num_channels == 1:
        raise UserError(
            f"loss.class_weighting {rule!r}: the network has one output channel, so there is nothing to weigh; give ''"
        )
    return class_weights(dataset, rule, sections.data.cache_dir)


def _check_devices(batch_size: int, accumulate: int, devices) -> None:
    """Raises UserError where a batch or a micro-batch cannot be divided evenly over the devices."""
    parallel.check_batch_size(batch_size, devices)
    if accumulate > 1:
        what = f"train.batch_size {batch_size} / optim.accumulate {accumulate}, a micro-batch"
        parallel.check_batch_size(batch_size // accumulate, devices, what)


def _dry_run(module, loss, tx, augmentation, overlapping, image):
    """Runs one window through augmentation, network, optimiser and loss, for their errors. `jax.eval_shape` traces it.

    Returns:
      The loss; and the network's variables with the optimiser's state.
    """
    example = augment(jax.random.key(0), {"image": image}, **augmentation)
    heads, variables = module.init_with_output(jax.random.key(0), example["image"][None])
    state = variables, tx.init(variables["params"])
    valid = jnp.ones(heads[-1].shape[:3], bool)
    mask = jnp.zeros(heads[-1].shape if overlapping else valid.shape, jnp.int32)
    truth = [mask, valid]
    if loss.needs_weight_map:
        truth.append(jnp.zeros(valid.shape))
    return loss.from_sums(loss.sums(heads, *truth)), state
