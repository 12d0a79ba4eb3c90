"""The sections of a config, each a frozen dataclass that checks itself when it is built.

`read_sections` turns a whole config into `Sections`. An unknown key, a value outside its domain and two values that
contradict each other are one-line errors, before any data are prepared. `configs/default.py` says what each key means, and
gives its default. To add a key: add its row to the section here, and its default there.

The sections first check what needs no JAX, so that such an error appears at once. Then `read_sections` imports the
networks, the losses and the data sets, which check their names and options themselves. It starts no device.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ml_collections import ConfigDict
from ml_collections.config_dict import RequiredValueError

from unet_jax.checks import (
    MOST_SIDE,
    Domain,
    boolean,
    check_tree,
    choice,
    number,
    pair_of,
    sequence_of,
    shown,
    text,
    whole,
)
from unet_jax.data.augment.options import AugmentOptions
from unet_jax.data.loading.options import CLASS_WEIGHTINGS, FOREGROUND_FRACTION, SIGMA
from unet_jax.data.normalization import NORMALIZATIONS
from unet_jax.data.targets import BORDER_WIDTH, TARGET
from unet_jax.errors import UserError
from unet_jax.experiment.durations import EVERY, LENGTH, WARMUP, Duration, Durations, one_duration, resolve_durations
from unet_jax.experiment.imports import check_rows, rows_of, used_rows
from unet_jax.inference.options import MODES
from unet_jax.runtime.config_file import shipped_names
from unet_jax.runtime.memory import HOW_TO_GIVE, is_size
from unet_jax.storage import json_file
from unet_jax.storage.paths import home_expanded
from unet_jax.training.losses.options import OPTIONS as LOSS_OPTIONS
from unet_jax.training.losses.options import check_weights
from unet_jax.training.optim.options import DOMAINS, check_multipliers, check_patterns

if TYPE_CHECKING:
    from unet_jax.models.network import Network

# The data sets of the package that are read from the folder `data.root`.
WITH_ROOT = ("image_folder", "isbi2012", "dsb2018")
SEED = whole(0, 2**32 - 1)
IMPORTS = sequence_of(text(filled=True))
PATH = Domain(
    lambda value: isinstance(value, str) and (not value or not value.isspace()), "give a path, or '' for none"
)
MEMORY = Domain(
    lambda value: isinstance(value, str) and (not value or is_size(value)), f"{HOW_TO_GIVE}, or '' for the default"
)
SIDE = whole(1, MOST_SIDE)
# The most pixels of a step. The devices count them in int32.
MOST_PIXELS = 2**31 - 1
VALUE_RANGE = Domain(
    lambda value: (
        isinstance(value, tuple | list)
        and (not value or (pair_of(number(), "values").contains(value) and value[0] < value[1]))
    ),
    "give two values, the smaller first, or () for that of the pixel type",
    convert=lambda value: tuple(map(float, value)),
)
# More threads only wait for each other.
THREADS = whole(1, 1024)
NOT_GIVEN = "0 for not given"
# The weights as trained, or their moving average.
WEIGHTS = ("raw", "ema")


def setting(domain: Domain | None = None) -> Any:
    """Declares a key of a section.

    Args:
      domain: the allowed values; None where the section's `check` looks at the value.

    Returns:
      The field of the dataclass.
    """
    return dataclasses.field(metadata={"domain": domain})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """The keys and values of one section of a config, checked.

    Raises:
      UserError: a value is outside its domain, or two values do not go together.
    """

    SECTION: ClassVar[str]

    def __post_init__(self):
        for field in dataclasses.fields(self):
            domain = field.metadata["domain"]
            if domain is not None:
                checked = domain.check(f"{self.SECTION}.{field.name}", getattr(self, field.name))
                object.__setattr__(self, field.name, checked)
        self.check()

    def check(self) -> None:
        """Checks the values that have no domain, and values that must go together.

        Raises:
          UserError: a value is not allowed, or two values do not go together.
        """

    def values(self, keys: Iterable[str] = ()) -> dict[str, Any]:
        """Returns the values by key.

        Args:
          keys: the keys to return; empty for all.
        """
        return {key: getattr(self, key) for key in keys or (field.name for field in dataclasses.fields(self))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSection(Section):
    """`config.model`: the network.

    Attributes:
      name: one of `MODELS`.
      activation: "softmax" or "sigmoid".
      dtype: the type of the computation.
      encoder_weights: a file of weights that the encoder starts from; "" for random weights.
      options: the other arguments of `models.build`, except `num_classes` and `axis_name`.
    """

    SECTION = "model"
    name: str = setting(text())
    activation: str = setting(text())
    dtype: str = setting(text())
    encoder_weights: str = setting(text())
    options: Mapping[str, Any] = setting()

    def check(self) -> None:
        """Checks that there is an encoder for `encoder_weights`.

        Raises:
          UserError: there is none.
        """
        if self.encoder_weights and not self.options.get("encoder"):
            raise UserError(
                f"model.encoder_weights={self.encoder_weights}: the network has no encoder; set model.encoder"
            )

    def build(self, num_classes: int, axis_name: str | None = None) -> "Network":
        """Builds the network.

        Args:
          num_classes: the number of output channels.
          axis_name: the mapped axis over which BatchNorm takes its mean and variance.

        Raises:
          UserError: as `models.build`.
        """
        # Here, because it imports JAX and Flax.
        from unet_jax import models

        options = {**self.options, "activation": self.activation, "dtype": self.dtype}
        try:
            return models.build(self.name, num_classes=num_classes, axis_name=axis_name, **options)
        except UserError as error:
            # The network names its options; in the config they are keys of this section.
            key = re.match(r"\w+", str(error))
            if key and key[0] in options:
                raise UserError(f"model.{error}") from error
            raise


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSection(Section):
    """The keys of `config.data` that choose the data set.

    Attributes:
      name: one of `DATASETS`, or "tfds:NAME".
      cache_dir: the folder of prepared data.
      train_fraction: fraction of the training images used.
      weight_map: True makes U-Net's weight map.
      weight_map_sigma: the width of that map in pixels.
      targets: "masks", or "borders" for a third class between objects that touch.
      border_width: the width of that class on each side in pixels.
      options: the arguments of the data set, which checks them.
    """

    SECTION = "data"
    name: str = setting(text())
    cache_dir: str = setting(PATH)
    train_fraction: float = setting(number(above=0, most=1))
    weight_map: bool = setting(boolean())
    weight_map_sigma: float = setting(SIGMA)
    targets: str = setting(TARGET)
    border_width: float = setting(BORDER_WIDTH)
    options: Mapping[str, Any] = setting()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadingSection(Section):
    """The keys of `config.data` that training reads the data set with."""

    SECTION = "data"
    patch: tuple[int, int] = setting(sequence_of(SIDE, length=2))
    normalize: str = setting(choice(NORMALIZATIONS))
    range: tuple[float, ...] = setting(VALUE_RANGE)
    foreground_fraction: float = setting(FOREGROUND_FRACTION)
    num_threads: int = setting(THREADS)
    cache_bytes: int = setting(whole(0))

    def check(self) -> None:
        """Checks that a range is given only where it is used.

        Raises:
          UserError: it is not.
        """
        if self.range and self.normalize != "range":
            raise UserError(
                f"data.range={self.range}: data.normalize is {self.normalize!r} and uses no range; set data.normalize='range', "
                "or leave data.range ()"
            )

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `train_pipeline.train_batches`."""
        values = self.values()
        return values | {"value_range": values.pop("range")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossSection(Section):
    """`config.loss`."""

    SECTION = "loss"
    weights: Mapping[str, float] = setting()
    options: Mapping[str, Mapping[str, float]] = setting(LOSS_OPTIONS)
    class_weights: tuple[float, ...] = setting()
    class_weighting: str = setting(choice(("", *CLASS_WEIGHTINGS)))
    head_weights: tuple[float, ...] = setting()

    def check(self) -> None:
        """Checks the weights.

        Raises:
          UserError: as `check_weights`; or class weights are given both as numbers and by a rule.
        """
        check_weights(self.weights, self.class_weights, self.head_weights)
        if self.class_weights and self.class_weighting:
            raise UserError(
                f"loss.class_weights {self.class_weights} and loss.class_weighting {self.class_weighting!r} are both set; "
                "set one of them"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimSection(Section):
    """`config.optim`."""

    SECTION = "optim"
    name: str = setting(DOMAINS["name"])
    learning_rate: float = setting(DOMAINS["learning_rate"])
    schedule: str = setting(DOMAINS["schedule"])
    warmup_steps: int = setting(whole(0, why=NOT_GIVEN))
    warmup_epochs: float = setting(number(least=0, why=NOT_GIVEN))
    warmup_examples: int = setting(whole(0, why=NOT_GIVEN))
    power: float = setting(DOMAINS["power"])
    boundaries: tuple[float, ...] = setting(sequence_of(number()))
    lr_drop_factor: float = setting(DOMAINS["lr_drop_factor"])
    plateau_patience: int = setting(DOMAINS["plateau_patience"])
    plateau_gain: float = setting(DOMAINS["plateau_gain"])
    weight_decay: float = setting(DOMAINS["weight_decay"])
    momentum: float = setting(DOMAINS["momentum"])
    nesterov: bool = setting(boolean())
    b1: float = setting(DOMAINS["b1"])
    b2: float = setting(DOMAINS["b2"])
    rmsprop_decay: float = setting(DOMAINS["rmsprop_decay"])
    eps: float = setting(DOMAINS["eps"])
    grad_clip: float = setting(DOMAINS["grad_clip"])
    accumulate: int = setting(whole(1))
    ema_decay: float = setting(DOMAINS["ema_decay"])
    freeze: tuple[str, ...] = setting()
    lr_multipliers: tuple[tuple[str, float], ...] = setting()

    def check(self) -> None:
        """Checks the patterns of parameters' names, and the warm-up.

        Raises:
          UserError: as `check_patterns`, `check_multipliers` and `one_duration`.
        """
        check_patterns(self.freeze)
        check_multipliers(self.lr_multipliers)
        # Each raises unless the duration is given in one unit.
        _ = self.warmup

    @property
    def warmup(self) -> Duration:
        """The length of the warm-up."""
        return one_duration("optim", self.values(WARMUP), optional=True)

    @property
    def optimizer_options(self) -> dict[str, Any]:
        """The arguments of `create_optimizer`, without the durations."""
        others = ("accumulate", "ema_decay", "plateau_patience", "plateau_gain", "boundaries", *WARMUP)
        return {key: value for key, value in self.values().items() if key not in others}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSection(Section):
    """`config.train`."""

    SECTION = "train"
    batch_size: int = setting(whole(1))
    num_steps: int = setting(whole(0, why=NOT_GIVEN))
    num_epochs: float = setting(number(least=0, why=NOT_GIVEN))
    num_examples: int = setting(whole(0, why=NOT_GIVEN))
    log_every: int = setting(whole(1))
    eval_every: int = setting(whole(0, why=NOT_GIVEN))
    eval_every_epochs: float = setting(number(least=0, why=NOT_GIVEN))
    eval_every_examples: int = setting(whole(0, why=NOT_GIVEN))
    patience: int = setting(whole(0))
    tensorboard: bool = setting(boolean())
    init_from: str = setting(text())

    def check(self) -> None:
        """Checks the durations.

        Raises:
          UserError: as `one_duration`.
        """
        # Each raises unless the duration is given in one unit.
        _ = self.length, self.every

    @property
    def length(self) -> Duration:
        """The length of the run."""
        return one_duration("train", self.values(LENGTH))

    @property
    def every(self) -> Duration:
        """The time from one evaluation to the next."""
        return one_duration("train", self.values(EVERY))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSection(Section):
    """`config.eval`."""

    SECTION = "eval"
    batch_size: int = setting(whole(1))
    pad_multiple: int = setting(SIDE)
    mode: str = setting(choice(MODES))
    classes: tuple[str, ...] = setting(sequence_of(text()))
    weights: str = setting(choice(WEIGHTS))
    memory: str = setting(MEMORY)
    num_pictures: int = setting(whole(0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointSection(Section):
    """`config.checkpoint`."""

    SECTION = "checkpoint"
    every: int = setting(whole(0))
    latest: int = setting(whole(1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sections:
    """A whole config, checked.

    Attributes:
      seed: the seed of initialisation, order of the data, windows, augmentation and dropout.
      imports: files that are run before anything is built (`imports.py`).
      model: the network.
      data: the data set.
      loading: the options of reading it in training.
      augment: the options of augmentation.
      loss: the losses and their weights.
      optim: the optimiser and its schedule.
      train: length and batches of the run.
      eval: the options of evaluation.
      checkpoint: the checkpoints to keep.

    Raises:
      UserError: two sections contradict each other.
    """

    seed: int
    imports: tuple[str, ...]
    model: ModelSection
    data: DataSection
    loading: LoadingSection
    augment: AugmentOptions
    loss: LossSection
    optim: OptimSection
    train: TrainSection
    eval: EvalSection
    checkpoint: CheckpointSection

    def __post_init__(self):
        object.__setattr__(self, "seed", SEED.check("seed", self.seed))
        object.__setattr__(self, "imports", IMPORTS.check("imports", self.imports))
        loss, optim = self.loss, self.optim
        if self.eval.weights == "ema" and not optim.ema_decay:
            raise UserError(
                "eval.weights 'ema' and optim.ema_decay 0: without a decay there is no moving average; set "
                "optim.ema_decay, e.g. to 0.999, or give eval.weights 'raw'"
            )
        map_weight = loss.weights.get("weighted_cross_entropy", 0.0)
        if bool(map_weight) != self.data.weight_map:
            raise UserError(
                f"loss.weights.weighted_cross_entropy is {map_weight} and data.weight_map is {self.data.weight_map}: only "
                "this loss reads the weight map, and it needs it; set both or neither"
            )
        if self.train.batch_size % optim.accumulate:
            raise UserError(
                f"train.batch_size {self.train.batch_size} is not a multiple of optim.accumulate {optim.accumulate}, the "
                "number of micro-batches in a step; change one of them"
            )
        height, width = self.loading.patch
        pixels = self.train.batch_size * height * width
        if pixels > MOST_PIXELS:
            raise UserError(
                f"train.batch_size {self.train.batch_size} and data.patch {self.loading.patch}: a step has {pixels} pixels, and "
                f"can have {MOST_PIXELS}; make one of them smaller"
            )
        self._check_tables()

    def _check_tables(self) -> None:
        """Lets the network, the losses and the data set check their names and options; imports them, and so JAX."""
        encoder = str(self.model.options.get("encoder", ""))
        check_rows(self.imports, used_rows(self.model.name, encoder, self.data.name, self.loss.weights))
        with rows_of(self.imports):
            # The number of classes is not known without the data, and no check depends on it.
            self.model.build(num_classes=2)
            from unet_jax.training.losses.registry import check_losses

            check_losses(weights=self.loss.weights, activation=self.model.activation, options=self.loss.options)
            from unet_jax.data.datasets.registry import check_options

            check_options(self.data.name, self.data.options)

    def resolve_durations(self, num_examples: int) -> Durations:
        """Returns the durations in steps.

        Args:
          num_examples: number of examples in the training split.

        Raises:
          UserError: as `durations.resolve_durations`.
        """
        train, optim = self.train, self.optim
        return resolve_durations(
            train.length,
            train.every,
            optim.warmup,
            optim.boundaries,
            batch_size=train.batch_size,
            num_examples=num_examples,
        )


SectionType = TypeVar("SectionType", bound=Section)

# The sections whose keys are the fields of one class. "model" and "data" also have keys that depend on their name.
WHOLE_SECTIONS = {
    "augment": AugmentOptions,
    "loss": LossSection,
    "optim": OptimSection,
    "train": TrainSection,
    "eval": EvalSection,
    "checkpoint": CheckpointSection,
}
TOP_KEYS = ("seed", "imports", "model", "data", *WHOLE_SECTIONS)


def read_sections(config: ConfigDict | Mapping[str, Any]) -> Sections:
    """Builds the sections of a whole config. Starts no device.

    >>> from unet_jax.configs import default
    >>> read_sections(default.get_config()).train.batch_size
    8

    Args:
      config: a config with the keys of `configs/default.py`.

    Raises:
      UserError: a section or a key is missing or unknown, a value is outside its domain, or two contradict each other.
    """
    # The config.json of a run before 0.2.0 has no imports.
    values = {"imports": (), **_plain(config)}
    _check_keys("config", values, known=TOP_KEYS, required=TOP_KEYS)
    whole_sections: dict[str, Any] = {name: _build(cls, name, values[name]) for name, cls in WHOLE_SECTIONS.items()}
    data, loading = _data_sections(values["data"])
    return Sections(
        seed=values["seed"],
        imports=values["imports"],
        model=_model_section(values["model"]),
        data=data,
        loading=loading,
        **whole_sections,
    )


def with_later_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a config.json, with those keys that one of an earlier version does not have."""
    # Before 0.2.0 there were no imports, before 0.3.0 no memory, no targets, no range and no
    # augmentation by channel.
    later: dict[str, dict[str, Any]] = {
        "eval": {"memory": ""},
        "data": {"targets": "masks", "border_width": 2.0, "range": ()},
        "augment": {"per_channel": False},
    }
    sections = {name: values.get(name) for name in later}
    changed = {name: {**later[name], **old} for name, old in sections.items() if isinstance(old, Mapping)}
    return {"imports": (), **values, **changed}


def check_root(config: ConfigDict, file: str) -> None:
    """Checks that the config gives the folder of its images, and that the folder exists. Imports no JAX.

    Args:
      config: a config with the keys of `configs/default.py`.
      file: the path of the config file.

    Raises:
      UserError: the data set is read from a folder, and `data.root` is empty or names no folder on this disk.
    """
    data = _mapping("data", _plain(config).get("data"))
    root = data.get("root")
    if not isinstance(root, str) or data.get("name") not in WITH_ROOT:
        return
    name = Path(file).stem
    if not root:
        by_name = f"--config={name}:FOLDER or " if name in shipped_names() else ""
        raise UserError(f"data.root is not set; give the folder of the data: {by_name}--config.data.root=FOLDER")
    # A folder in a bucket takes longer to look up.
    # `image_folder` also takes a file of annotations.
    exists = os.path.exists if data["name"] == "image_folder" else os.path.isdir
    if "://" not in root and not exists(home_expanded(root)):
        inside = "" if os.path.isabs(home_expanded(root)) else f" in {Path.cwd()}"
        raise UserError(f"data.root {root!r}: there is no such folder{inside}; give the folder of the data")


def read_model(config: ConfigDict) -> ModelSection:
    """Builds the section "model" of a config.

    Raises:
      UserError: as `read_sections`.
    """
    return _model_section(_plain(config).get("model"))


def read_data(config: ConfigDict) -> tuple[DataSection, LoadingSection]:
    """Builds the section "data" of a config in two parts: the data set, and the options of reading it in training.

    Raises:
      UserError: as `read_sections`.
    """
    return _data_sections(_plain(config).get("data"))


def keys_of(section: type) -> tuple[str, ...]:
    """Returns the keys of a section."""
    return tuple(field.name for field in dataclasses.fields(section))


def _model_section(values: Any) -> ModelSection:
    # Not every network has an encoder.
    return _build_open(ModelSection, "model", {"encoder_weights": "", **_mapping("model", values)})


def _data_sections(values: Any) -> tuple[DataSection, LoadingSection]:
    values = dict(_mapping("data", values))
    loading = {key: values.pop(key) for key in keys_of(LoadingSection) if key in values}
    return _build_open(DataSection, "data", values), _build(LoadingSection, "data", loading)


def _build(cls: type[SectionType], name: str, values: Mapping[str, Any]) -> SectionType:
    """Builds a section whose keys are the fields of `cls`."""
    fields = dataclasses.fields(cls)
    without_default = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    _check_keys(name, _mapping(name, values), known=keys_of(cls), required=without_default)
    return cls(**values)


def _build_open(cls: type[SectionType], name: str, values: Mapping[str, Any]) -> SectionType:
    """Builds a section with `options`, which are the keys that are not fields of `cls`."""
    fields = [key for key in keys_of(cls) if key != "options"]
    _check_keys(name, values, required=fields)
    options = {key: value for key, value in values.items() if key not in fields}
    arguments: dict[str, Any] = {key: values[key] for key in fields} | {"options": options}
    return cls(**arguments)


def _plain(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config as dicts and tuples, which hold only what a config can hold. A config.json has lists for tuples.

    Raises:
      UserError: it is no config, or holds something else.
    """
    try:
        values = config.to_dict() if isinstance(config, ConfigDict) else config
    except RequiredValueError as error:
        raise UserError(f"config: a required value is not set ({error}); give it one") from error
    if not isinstance(values, Mapping):
        raise UserError(f"config {shown(config)}: give a ConfigDict with the keys of configs/default.py")
    check_tree(values, "")
    return json_file.tuples(values)


def _mapping(name: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise UserError(f"{name} {shown(values)}: give a section, which has keys with values")
    return values


def _check_keys(name: str, values: Mapping[str, Any], *, required: Sequence[str], known: Sequence[str] = ()) -> None:
    """Raises UserError for a missing key and, where `known` lists the known ones, for an unknown key."""
    for key in values:
        if known and key not in known:
            raise UserError(f"{name}.{key}: no such key; {name} has: {', '.join(known)}")
    for key in required:
        if key not in values:
            raise UserError(f"{name}.{key} is missing; give it a value; configs/default.py has one")
