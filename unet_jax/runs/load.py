"""Loading of trained networks: `load_predictor` gives what predicts, `open_model` and `open_models` also configs and data facts.

A network is that of a run, by the run's folder, or one that the package ships, by its name. A shipped network needs
neither Orbax nor the libraries that prepare data, so both are imported only where a run is opened.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, overload

import jax
from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.data.augment.options import AugmentOptions
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError
from unet_jax.experiment.sections import WEIGHTS, read_model, with_later_keys
from unet_jax.inference.ensemble import Ensemble
from unet_jax.inference.forward import select_heads
from unet_jax.inference.predictor import Predictor
from unet_jax.inference.segmenter import Segmenter
from unet_jax.inference.temperature import Calibrated
from unet_jax.inference.views import check_trained, named_views
from unet_jax.models.network import Network
from unet_jax.pretrained import shipped
from unet_jax.runs.calibration.temperature_file import read_temperature
from unet_jax.runs.run_folder import NO_RUN
from unet_jax.runtime import parallel
from unet_jax.runtime.memory import to_bytes
from unet_jax.storage import paths


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained network, opened for use.

    Attributes:
      config: the config of its run.
      facts: the properties of its training data; see `workdir.data_facts`.
      step: the step that was restored.
      weights: "raw" or "ema".
      predictor: the network of that step.
      checkpoint_sha256: what the step's checkpoint holds; "" for a shipped network.
    """

    config: ConfigDict
    facts: dict[str, Any]
    step: int
    weights: str
    predictor: Predictor
    checkpoint_sha256: str = ""

    @property
    def border_width(self) -> float:
        """`data.border_width` of a run whose `data.targets` are "borders", else 0."""
        data = self.config.data
        return data.border_width if data.targets == "borders" else 0.0


@dataclasses.dataclass(frozen=True)
class Opened:
    """Trained networks, opened to predict together.

    Attributes:
      runs: the networks, at least one.
      segmenter: predicts: the predictor of the only run, or an `Ensemble`.
      models: the folder or the name of each, as it was given.
      views: the name of the views; see `inference.views`.
    """

    runs: tuple[Run, ...]
    segmenter: Segmenter
    models: tuple[str, ...] = ()
    views: str = ""

    @property
    def reading(self) -> Reading:
        """How the image files of the training were read, and so how new ones are.

        Raises:
          UserError: the networks were trained on files that were read in different ways.
        """
        # Imported on use: a shipped network needs no libraries of files.
        from unet_jax.data.datasets.folder.pages import image_reading

        found = [image_reading(run.config.data) for run in self.runs]
        for model, reading in zip(self.models, found, strict=False):
            if reading != found[0]:
                raise UserError(
                    f"{model}: was trained on files that were read with {reading}, and {self.models[0]} with {found[0]}; predict "
                    "with each alone"
                )
        return found[0]

    def describe(self) -> str:
        """Returns the checkpoints and the views in words."""
        steps = ", ".join(str(run.step) for run in self.runs)
        noun = "the checkpoint of step" if len(self.runs) == 1 else f"{len(self.runs)} checkpoints, of steps"
        return f"{noun} {steps}" + (f", views {self.views}" if self.views else "")


@overload
def load_predictor(
    model: str | os.PathLike,
    *,
    checkpoint: str | int = ...,
    mode: str = ...,
    level: int = ...,
    weights: str = ...,
    memory: str | int = ...,
    devices: Sequence[jax.Device] | None = ...,
) -> Predictor: ...
@overload
def load_predictor(
    model: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    checkpoint: str | int = ...,
    mode: str = ...,
    level: int = ...,
    weights: str = ...,
    views: str = ...,
    force_views: bool = ...,
    calibrated: bool = ...,
    memory: str | int = ...,
    devices: Sequence[jax.Device] | None = ...,
) -> Segmenter: ...
def load_predictor(
    model: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    checkpoint: str | int = "best",
    mode: str = "",
    level: int = 0,
    weights: str = "",
    views: str = "",
    force_views: bool = False,
    calibrated: bool = False,
    memory: str | int = "",
    devices: Sequence[jax.Device] | None = None,
) -> Segmenter:
    """Loads a trained network, or several that predict together.

    >>> import numpy as np
    >>> predictor = load_predictor("electrodes")
    >>> predictor.class_names, predictor.channels
    (('background', 'anode', 'cathode'), 1)
    >>> load_predictor("electrodes", views="flips").num_members
    12

    Args:
      model: the folder of a run, or the name of a network that the package ships (`unet_jax/pretrained/`). A name with a
        slash, and that of an existing folder, is a folder. The run may be finished or still training. Its data need not
        be there. A list of such names gives an `Ensemble`: the mean of the networks' probabilities.
      checkpoint: "best", "latest" or a step. A shipped network has one checkpoint, "best".
      mode: "accurate" (mean over the heads, for a network with several), "fast" (one head), or "" for the config's
        `eval.mode`.
      level: U-Net++'s pruning level; of a run, only the parameters that it needs are read. 0 is the network as trained.
      weights: "raw", "ema" (their moving average, of a run with `optim.ema_decay`), or "" for the config's `eval.weights`.
      views: "flips", "turns" or "all" for the mean over views of the image; "" for the image alone. See `inference.views`.
      force_views: True allows views that the network was not trained on.
      calibrated: True applies the temperature that `unet-jax calibrate` has kept for this network to the probabilities. Masks
        do not change. For one run.
      memory: what a prediction may add to the memory of the process, in bytes or as "300MiB" or "2GiB"; "" for the config's
        `eval.memory`, or else a quarter of the memory of the device or, on a CPU, of the machine. A larger image is predicted
        in parts. The passes of several networks and views come one after the other, each with all of it.
      devices: to run on; all local ones by default, whatever the number trained on.

    Returns:
      A `Predictor`; an `Ensemble` for several networks, or with views; a `Calibrated` segmenter with `calibrated`.

    Raises:
      UserError: no such run, shipped network, checkpoint, mode, level, weights or views; `memory` is no size; the checkpoint is
        damaged; a network was not trained on the views; or the networks do not fit together.
    """
    options: dict[str, Any] = {
        "checkpoint": checkpoint,
        "level": level,
        "weights": weights,
        "memory": memory,
        "devices": devices,
    }
    models = [model] if isinstance(model, str | os.PathLike) else list(model)
    options |= {"views": views, "force_views": force_views, "calibrated": calibrated}
    return open_models(models, mode=mode, flag="model", **options).segmenter


def open_models(
    models: Sequence[str | os.PathLike],
    *,
    mode: str = "",
    views: str = "",
    force_views: bool = False,
    calibrated: bool = False,
    memory: str | int = "",
    flag: str = "--workdir",
    **options: Any,
) -> Opened:
    """Opens runs and shipped networks that predict together.

    Args:
      models: one or several; see `load_predictor`.
      mode: see `load_predictor`.
      views: see `load_predictor`.
      force_views: see `load_predictor`.
      calibrated: see `load_predictor`.
      memory: see `load_predictor`.
      flag: the name of `models` in messages.
      **options: checkpoint, level, weights and devices, see `load_predictor`; and for runs, `as_started`, see `open_run`.

    Raises:
      UserError: as `load_predictor`; or no network or the same one twice is given.
    """
    if not models:
        raise UserError(f"{flag}: no network is given; give at least one")
    named_views(views)
    if memory != "":
        to_bytes(memory)
    given = tuple(os.fspath(model) for model in models)
    names = [f"{flag}={model}" for model in given]
    places = [
        os.fspath(model) if is_shipped_name(model) else str(paths.real(paths.resolve(model, flag))) for model in models
    ]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{names[number]} is given twice, and would count twice in the mean; leave one out")
    runs = tuple(open_model(model, mode=mode, memory=memory, flag=flag, **options) for model in models)
    if views and not force_views:
        for run, name in zip(runs, names, strict=True):
            check_trained(views, _augmentation(run.config), run.config.data.patch, name)
    alone = len(runs) == 1 and not views
    segmenter: Segmenter = runs[0].predictor if alone else Ensemble([run.predictor for run in runs], views, names)
    if calibrated:
        segmenter = Calibrated(segmenter, _temperature(models, runs, views))
    return Opened(runs, segmenter, given, views)


def _temperature(models: Sequence[str | os.PathLike], runs: Sequence[Run], views: str) -> float:
    """Returns the temperature of a run; raises UserError if there are several, or if it has none for this network."""
    if len(runs) > 1 or is_shipped_name(models[0]):
        what = f"{len(runs)} networks" if len(runs) > 1 else f"the shipped network {os.fspath(models[0])}"
        raise UserError(
            f"--calibrated: a temperature belongs to one run, and {what} is asked for; leave --calibrated out"
        )
    return read_temperature(paths.resolve(models[0], "--workdir"), runs[0], views)


def _augmentation(config: ConfigDict) -> AugmentOptions:
    """Returns the flips and turns of a training; a config of another version may have other options besides."""
    names = ("flip", "quarter_turns", "rotate", "probability")
    return AugmentOptions(**{name: value for name, value in config.augment.to_dict().items() if name in names})


def open_model(model: str | os.PathLike, *, mode: str = "", flag: str = "--workdir", **options: Any) -> Run:
    """Opens a run or a shipped network for a user who may give a mode.

    Args:
      model: see `load_predictor`.
      mode: see `load_predictor`.
      flag: the name of `model` in messages.
      **options: checkpoint, level, weights, memory and devices; see `load_predictor`.

    Raises:
      UserError: as `load_predictor`; or the mode is "accurate", the mean over several heads, and the network has one head.
    """
    if is_shipped_name(model):
        if os.fspath(model) not in shipped.names():
            raise UserError(
                f"{flag}={os.fspath(model)} is neither a folder of the current folder nor a shipped network; shipped: "
                f"{', '.join(shipped.names())}"
            )
        run = open_shipped(model, mode=mode, **options)
    else:
        run = _open_folder(model, flag, mode=mode, **options)
    module = run.predictor.module
    if mode == "accurate" and not module.deep_supervision:
        why = ", as it was trained without deep supervision" if module.levels != (0,) else ""
        raise UserError(
            f"mode 'accurate' is the mean over several heads, and the network ({type(module).__name__}) has one{why}; "
            "use 'fast', or leave the mode out"
        )
    return run


def _open_folder(model: str | os.PathLike, flag: str, **options: Any) -> Run:
    """Does what `open_run` does; a message names the folder as the user gave it."""
    folder, given = paths.resolve(model, flag), f"{flag}={os.fspath(model)}"
    if not (folder / "config.json").exists():
        raise UserError(f"{given} {_why_no_run(model, folder)}")
    try:
        return open_run(folder, **options)
    except UserError as error:
        raise UserError(str(error).replace(f"--workdir={folder}", given, 1)) from error


def _why_no_run(model: str | os.PathLike, folder: Path) -> str:
    """Returns the end of the message for a folder without config.json."""
    name = os.fspath(model)
    if name in shipped.names():
        return (
            "is a folder of the current folder and no run (it has no config.json); it hides the shipped network of this "
            f"name. Start from another folder to use the network; write ./{name} for the folder"
        )
    if not folder.exists():
        return (
            "is not there, so it has no config.json; give the folder of a run, or a shipped network: "
            f"{', '.join(shipped.names())}"
        )
    return NO_RUN


def is_shipped_name(model: str | os.PathLike) -> bool:
    """Returns False for what can only be a folder: a text with a slash, "" and the name of an existing folder.

    >>> is_shipped_name("electrodes"), is_shipped_name("runs/electrodes"), is_shipped_name("gs://bucket/electrodes")
    (True, False, False)
    """
    text = os.fspath(model)
    return bool(text) and "/" not in text and os.sep not in text and not os.path.isdir(paths.home_expanded(text))


def open_run(
    workdir: str | os.PathLike,
    *,
    checkpoint: str | int = "best",
    mode: str = "",
    level: int = 0,
    weights: str = "",
    memory: str | int = "",
    as_started: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> Run:
    """Restores a run from its folder; the other arguments and the errors are those of `load_predictor`.

    Args:
      workdir: the run's folder.
      checkpoint: see `load_predictor`.
      mode: see `load_predictor`.
      level: see `load_predictor`.
      weights: see `load_predictor`.
      memory: see `load_predictor`.
      as_started: True takes the memory that the run's own evaluations take, where none is given.
      devices: see `load_predictor`.
    """
    from unet_jax.checkpoints.checkpointer import Checkpointer
    from unet_jax.checkpoints.chosen import read_chosen
    from unet_jax.experiment.build import create_module
    from unet_jax.runs.workdir import load_config, load_facts, recorded_memory

    folder = paths.resolve(workdir, "--workdir")
    config, facts = load_config(folder), load_facts(folder)
    module = create_module(config, facts["class_names"], facts["overlapping"])
    # Without a gradient there is nothing to compute again, and analyses look inside the network.
    module = module.without_remat()
    mode, weights = mode or config.eval.mode, weights or config.eval.weights
    _check_weights(weights, config)
    images = jax.ShapeDtypeStruct((1, *config.data.patch, facts["channels"]), "float32")
    variables = jax.eval_shape(select_heads(module, mode, level).init, jax.random.key(0), images)
    like = {"ema": dict(variables)} if weights == "ema" else dict(variables)

    def read(checkpointer: Checkpointer, step: int) -> tuple[dict, str]:
        if checkpoint == "best" and checkpointer.best_step() is None:
            print(f"note: no checkpoint of {folder} was scored yet; taking the latest, of step {step}")
        return checkpointer.restore(step, like), checkpointer.sha256(step)

    step, (restored, sha256) = read_chosen(folder / "checkpoints", checkpoint, read)
    restored = restored["ema"] if weights == "ema" else restored
    memory = memory or config.eval.memory or (recorded_memory(folder) if as_started else "")
    predictor = create_predictor(
        config, module, facts, restored, mode=mode, level=level, memory=memory, devices=devices
    )
    return Run(config, facts, step, weights, predictor, sha256)


def open_shipped(
    name: str | os.PathLike,
    *,
    checkpoint: str | int = "best",
    mode: str = "",
    level: int = 0,
    weights: str = "",
    memory: str | int = "",
    devices: Sequence[jax.Device] | None = None,
) -> Run:
    """Reads a network that the package ships; the other arguments are those of `load_predictor`.

    Raises:
      UserError: the name, mode or level is unknown, the network's file is damaged, or the network does not have the
        checkpoint or the weights.
    """
    network = shipped.read(os.fspath(name))
    record, config = network.record, ConfigDict(with_later_keys(network.record["config"]))
    step, kind = record["step"], record["weights"]
    if str(checkpoint) not in ("best", "latest", str(step)):
        raise UserError(f"checkpoint {checkpoint}: the shipped network {name} has one, of step {step}; leave it out")
    if weights and weights != kind:
        _check_weights(weights, config)
        raise UserError(
            f"weights {weights!r}: the shipped network {name} has its {kind!r} weights alone; leave them out"
        )
    module = read_model(config).build(record["num_classes"], axis_name=parallel.AXIS).without_remat()
    predictor = create_predictor(
        config, module, record["data"], network.variables, mode=mode, level=level, memory=memory, devices=devices
    )
    return Run(config, record["data"], step, kind, predictor)


def _check_weights(weights: str, config: ConfigDict) -> None:
    if weights not in WEIGHTS:
        raise UserError(f"weights {weights!r} is unknown; known: {', '.join(WEIGHTS)}")
    if weights == "ema" and not config.optim.ema_decay:
        raise UserError("weights 'ema': the run keeps no moving average (its optim.ema_decay is 0); use 'raw'")


def create_predictor(
    config: ConfigDict,
    module: Network,
    facts: Mapping[str, Any],
    variables: Mapping[str, Any],
    *,
    mode: str = "",
    level: int = 0,
    memory: str | int = "",
    devices: Sequence[jax.Device] | None = None,
) -> Predictor:
    """Returns a Predictor that treats images as the config's training did.

    Args:
      config: the config of the run.
      module: the run's network.
      facts: the properties of its training data; see `workdir.data_facts`.
      variables: its variables, or the subset that `mode` and `level` need.
      mode: "accurate" or "fast"; "" for the config's `eval.mode`.
      level: U-Net++'s pruning level; 0 for the network as trained.
      memory: what a prediction may take; see `Predictor`.
      devices: to run on; all local ones by default.
    """
    return Predictor(
        module=module,
        variables=variables,
        # Of two classes on one channel, the Predictor takes the second.
        class_names=tuple(facts["class_names"]),
        channels=facts["channels"],
        report_classes=tuple(config.eval.classes),
        normalize=config.data.normalize,
        value_range=tuple(config.data.range),
        # Not every data set has it.
        nan=config.data.get("nan", "error"),
        # A run of an earlier version may not have recorded it.
        dtype=facts.get("dtype", ""),
        mode=mode or config.eval.mode,
        level=level,
        pad_multiple=config.eval.pad_multiple,
        devices=devices,
        memory=memory,
    )
