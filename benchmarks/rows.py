"""The runs behind the results: which config, which data, which seed, how many minutes.

Experiments of one data set are compared at equal minutes. They differ only in the network, except the one that is trained
as its authors trained it. An experiment that adds to another (`adds_to`) has the other's network and number of steps, and
one addition to the training: its score shows the gain, its seconds a step show the cost. References are figures that were
given to this project and not run here: scores of a threshold, and of another library.
"""

import dataclasses
import fnmatch
import importlib
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from unet_jax.configs import default
from unet_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
LEAST_STEPS = 3


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set of the results.

    Args:
      split: the split to score.
      num_evals: the number of evaluations during a run.
      folder: True if the user gives a folder with the data; False if the data are made.
    """

    split: str
    num_evals: int
    folder: bool = True


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A network on a data set.

    Args:
      network: its name in the tables.
      config: the name of its config.
      flags: config keys that it sets, and their values.
      adds_to: the experiment of the data set whose number of steps it takes; "" if its own speed sets the number.
    """

    network: str
    config: str
    flags: tuple[tuple[str, object], ...] = ()
    adds_to: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """One run of the experiment `EXPERIMENTS[data][variant]`.

    Args:
      data: the data set.
      variant: the experiment.
      minutes: minutes of training steps.
      seed: the seed of the run.
      train_fraction: fraction of the training images used. The number of steps does not depend on it.
    """

    data: str
    variant: str
    minutes: float
    seed: int = 0
    train_fraction: float = 1.0

    @property
    def name(self) -> str:
        """Returns the name of the run, which is also the name of its folder."""
        suffix = "" if self.train_fraction == 1 else f"-share{self.train_fraction:g}"
        return f"{self.data}-{self.variant}-{self.minutes:g}min-seed{self.seed}{suffix}"

    @property
    def experiment(self) -> Experiment:
        """Returns the experiment that it is a run of."""
        return EXPERIMENTS[self.data][self.variant]


@dataclasses.dataclass(frozen=True)
class Reference:
    """Figures that were given to this project and not run here: pooled IoU by class, and the mean IoU per image."""

    data: str
    what: str
    iou_pooled: dict[str, float]
    iou_image: float | None = None


DATA = {
    "electrodes": Data(split="test", num_evals=3, folder=False),
    "battery_xray": Data(split="val", num_evals=3),
    "nuclei": Data(split="val", num_evals=1),
    "em": Data(split="val", num_evals=2),
}

# Added to the training of a U-Net, one at a time.
ADDED = {
    "elastic": ("elastic deformation", {"augment.elastic": 5.0}),
    "foreground": ("a third of the windows on the foreground", {"data.foreground_fraction": 0.33}),
    "ema": ("moving average of the weights", {"optim.ema_decay": 0.99, "eval.weights": "ema"}),
}
# The weighted cross entropy replaces the plain one. With w0 = 0 the two would be equal.
WEIGHT_MAP = {
    "data.weight_map": True,
    "loss.weights.binary_cross_entropy": 0.0,
    "loss.weights.weighted_cross_entropy": 0.5,
}


def _added(config: str, **more: tuple[str, dict]) -> dict[str, Experiment]:
    return {
        f"unet_{name}": Experiment(f"U-Net, {what}", config, tuple(flags.items()), adds_to="unet")
        for name, (what, flags) in (ADDED | more).items()
    }


PLAIN = (("model.deep_supervision", False),)
EXPERIMENTS = {
    "electrodes": {
        "unet": Experiment("U-Net", "electrodes_unet"),
        "unet_pp_one_head": Experiment("U-Net++, one head", "default", PLAIN),
        "unet_pp": Experiment("U-Net++, deep supervision", "default"),
        "fcn": Experiment("FCN-8s", "electrodes_fcn"),
        "fc_densenet": Experiment("FC-DenseNet", "electrodes_fc_densenet"),
        "resnet34": Experiment("U-Net, encoder ResNet-34", "electrodes_resnet34"),
    },
    "battery_xray": {
        "unet": Experiment("U-Net", "battery_xray_unet"),
        "unet_pp_one_head": Experiment("U-Net++, one head", "battery_xray", PLAIN),
        "unet_pp": Experiment("U-Net++, deep supervision", "battery_xray"),
        **_added("battery_xray_unet"),
    },
    "nuclei": {
        "unet": Experiment("U-Net", "nuclei_unet"),
        **_added("nuclei_unet", weight_map=("map of weights", WEIGHT_MAP)),
        "unet_pp": Experiment("U-Net++, deep supervision", "nuclei"),
        "unet_pp_paper": Experiment("U-Net++ as published, its authors' training", "unet_pp_paper"),
    },
    "em": {"unet_pp": Experiment("U-Net++, deep supervision", "em")},
}

# Trainings that step_seconds.py times and that no row runs.
NO_AUGMENTATION = {"augment.flip": False, "augment.quarter_turns": False} | {
    f"augment.{name}": 0.0 for name in ("brightness", "contrast", "gamma", "noise")
}
TIMED = {
    "nuclei": {
        "unet_no_augmentation": Experiment("U-Net, no augmentation", "nuclei_unet", tuple(NO_AUGMENTATION.items())),
        "unet_nnunet": Experiment(
            "U-Net, nnU-Net's augmentation", "nuclei_unet", (("augment", default.augment_nnunet()),)
        ),
    }
}

# Networks of similar parameter counts that are trained on several fractions of the training images, to see the gap between
# the scores on train and on val.
SHARED = {"electrodes": ("unet", "unet_pp"), "battery_xray": ("unet", "unet_pp")}


def _two_minutes(data: str) -> Iterator[Row]:
    """Yields the rows of a data set, its networks in turn for each seed: a drift of the machine's speed affects all equally."""
    for seed in range(3):
        yield from (Row(data, variant, 2, seed) for variant in EXPERIMENTS[data])
        yield from (Row(data, variant, 2, seed, fraction) for fraction in (0.25, 0.5) for variant in SHARED[data])


ROWS = (
    *_two_minutes("electrodes"),
    *_two_minutes("battery_xray"),
    Row("battery_xray", "unet_pp", 20),
    *(Row("nuclei", variant, 2, seed) for seed in range(3) for variant in ("unet", *_added("", weight_map=("", {})))),
    Row("nuclei", "unet_pp_paper", 10),
    Row("nuclei", "unet_pp", 25),
    Row("em", "unet_pp", 25),
    *(Row(data, "unet_pp", 5, seed) for data in ("electrodes", "battery_xray", "nuclei") for seed in range(3)),
)

# The rows of the README, as (data, variant, minutes).
HIGHLIGHTS = (
    ("electrodes", "unet", 2),
    ("electrodes", "unet_pp", 2),
    ("battery_xray", "unet", 2),
    ("battery_xray", "unet_pp", 2),
    ("nuclei", "unet", 2),
    ("em", "unet_pp", 25),
)

REFERENCES = (
    Reference("battery_xray", "PyTorch, U-Net++ plainly trained, 20 minutes", {"stack": 0.806, "plate": 0.761}),
    Reference("nuclei", "floor: Otsu's threshold of each image", {"nucleus": 0.673}, 0.765),
    Reference("nuclei", "PyTorch, U-Net++ plainly trained, 25 minutes", {"nucleus": 0.838}, 0.802),
    Reference("em", "floor: Otsu's threshold of each image", {"membrane": 0.359}, 0.359),
)


def select(pattern: str = "*", minutes: float = 0.0) -> list[Row]:
    """Selects the rows whose name matches a pattern, in the order of `ROWS`.

    Args:
      pattern: a shell pattern.
      minutes: replaces the minutes of the rows, for a trial; 0 keeps them.

    Raises:
      UserError: no row matches, or `minutes` is negative.
    """
    if minutes < 0:
        raise UserError(f"--minutes={minutes} must be above 0; leave it out to keep the minutes of the rows")
    chosen = [row for row in ROWS if fnmatch.fnmatch(row.name, pattern)]
    if not chosen:
        raise UserError(f"--only={pattern}: no row has such a name; the rows are {', '.join(row.name for row in ROWS)}")
    if minutes:
        # Rows that differ only in minutes become one.
        chosen = list(dict.fromkeys(dataclasses.replace(row, minutes=minutes) for row in chosen))
    return chosen


def create_config(data: str, variant: str, folder: str = "") -> ConfigDict:
    """Creates the config of an experiment and applies its flags.

    Args:
      data: the data set.
      variant: the experiment.
      folder: the folder of the data, for a data set that has one.
    """
    experiment = (EXPERIMENTS[data] | TIMED.get(data, {}))[variant]
    module = importlib.import_module(f"unet_jax.configs.{experiment.config}")
    config = module.get_config(folder) if DATA[data].folder else module.get_config()
    config.update_from_flattened_dict(dict(experiment.flags))
    return config


def steps_in(minutes: float, seconds_per_step: float) -> int:
    """Returns how many steps fit into `minutes`, at least `LEAST_STEPS`."""
    return max(int(60 * minutes / seconds_per_step), LEAST_STEPS)


def train_flags(row: Row, num_steps: int, folder: str = "FOLDER") -> list[str]:
    """Returns the flags of run_train.py for a run, without --workdir: the experiment's changes, seed, steps.

    The learning rate ends with the last step. A warm-up longer than a third of the run, as in a trial, is cut to a third.

    Args:
      row: the run.
      num_steps: its number of steps.
      folder: the folder of its data.
    """
    data, experiment = DATA[row.data], row.experiment
    flags = dict(experiment.flags) | {
        "seed": row.seed,
        "train.num_steps": num_steps,
        "train.eval_every": -(-num_steps // data.num_evals),
    }
    if row.train_fraction != 1:
        flags["data.train_fraction"] = row.train_fraction
    warmup = create_config(row.data, row.variant).optim.warmup_steps
    if warmup > num_steps // 3:
        flags["optim.warmup_steps"] = num_steps // 3
    argument = f":{folder}" if data.folder else ""
    return [
        f"--config=configs/{experiment.config}.py{argument}",
        *(f"--config.{key}={value}" for key, value in flags.items()),
    ]
