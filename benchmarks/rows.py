"""The runs behind the README's results: which config, which data, which seed, how many minutes.

Experiments of one data set are compared at equal minutes and differ in the network alone (except the one that is trained
as its authors did). An experiment `beside` another has its network and its number of steps, and one addition to the
training: its score shows the gain, its seconds a step the cost. References are figures that are given, not run:
floors by a threshold, and another library.
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
    """A data set of the results: the split to score, evaluations during a run, and whether it is a folder to be given."""

    split: str
    num_evals: int
    folder: bool = True


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A network on a data set: its name in the table, the config and the flags on top of it.

    `beside` names the experiment of the data set whose number of steps it takes; "" for one of its own.
    """

    network: str
    config: str
    flags: tuple[tuple[str, object], ...] = ()
    beside: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """One run: an experiment, `EXPERIMENTS[data][variant]`, with a seed, for so many minutes of training steps.

    `train_fraction` is the fraction of the training images; with fewer, the run takes the same number of steps.
    """

    data: str
    variant: str
    minutes: float
    seed: int = 0
    train_fraction: float = 1.0

    @property
    def name(self) -> str:
        suffix = "" if self.train_fraction == 1 else f"-share{self.train_fraction:g}"
        return f"{self.data}-{self.variant}-{self.minutes:g}min-seed{self.seed}{suffix}"

    @property
    def experiment(self) -> Experiment:
        return EXPERIMENTS[self.data][self.variant]


@dataclasses.dataclass(frozen=True)
class Reference:
    """Figures that are given: pooled IoU by class, their mean, and the mean IoU per image."""

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
# Its cross entropy replaces the plain one, to which it would be equal with w0 = 0.
WEIGHT_MAP = {
    "data.weight_map": True,
    "loss.weights.binary_cross_entropy": 0.0,
    "loss.weights.weighted_cross_entropy": 0.5,
}


def _added(config: str, **more: tuple[str, dict]) -> dict[str, Experiment]:
    return {
        f"unet_{name}": Experiment(f"U-Net, {what}", config, tuple(flags.items()), beside="unet")
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

# Trainings whose seconds a step alone are of interest (step_seconds.py).
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

# Networks of similar parameter counts, trained on several fractions of the training images to see the gap of train to val.
SHARED = {"electrodes": ("unet", "unet_pp"), "battery_xray": ("unet", "unet_pp")}


def _two_minutes(data: str) -> Iterator[Row]:
    """The networks of a data set take turns, seed by seed, so that a drift of the machine's speed meets all alike."""
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
)

REFERENCES = (
    Reference("battery_xray", "PyTorch, U-Net++ plainly trained, 20 minutes", {"stack": 0.806, "plate": 0.761}),
    Reference("nuclei", "floor: Otsu's threshold of each image", {"nucleus": 0.673}, 0.765),
    Reference("nuclei", "PyTorch, U-Net++ plainly trained, 25 minutes", {"nucleus": 0.838}, 0.802),
    Reference("em", "floor: Otsu's threshold of each image", {"membrane": 0.359}, 0.359),
)


def select(pattern: str = "*", minutes: float = 0.0) -> list[Row]:
    """Selects the rows whose name matches `pattern`, in order; `minutes` above 0 replaces their own, for a trial.

    Raises UserError where none matches, with the names there are.
    """
    if minutes < 0:
        raise UserError(f"--minutes={minutes} must be above 0; leave it out for the rows' own")
    chosen = [row for row in ROWS if fnmatch.fnmatch(row.name, pattern)]
    if not chosen:
        raise UserError(f"--only={pattern}: no such row; there are: {', '.join(row.name for row in ROWS)}")
    if minutes:
        # Rows that differ in minutes alone become one.
        chosen = list(dict.fromkeys(dataclasses.replace(row, minutes=minutes) for row in chosen))
    return chosen


def create_config(data: str, variant: str, folder: str = "") -> ConfigDict:
    """Creates the config of an experiment, its flags applied."""
    experiment = (EXPERIMENTS[data] | TIMED.get(data, {}))[variant]
    module = importlib.import_module(f"configs.{experiment.config}")
    config = module.get_config(folder) if DATA[data].folder else module.get_config()
    config.update_from_flattened_dict(dict(experiment.flags))
    return config


def steps_in(minutes: float, seconds_per_step: float) -> int:
    """Returns how many steps fit into so many minutes."""
    return max(int(60 * minutes / seconds_per_step), LEAST_STEPS)


def train_flags(row: Row, num_steps: int, folder: str = "FOLDER") -> list[str]:
    """Returns the flags of run_train.py for a run of `num_steps`, without --workdir: seed, steps, the experiment's changes.

    The learning rate ends with the last step; a warm-up longer than a third of the run (a trial) is cut to that.
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
