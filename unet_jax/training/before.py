"""What runs from before a key was there had in effect, so that they go on and can be used."""

import dataclasses

from ml_collections import ConfigDict

from unet_jax.data.augment.options import Knobs

NEW_LOSSES = ("weighted_cross_entropy", "focal", "generalised_dice", "tversky", "focal_tversky", "lovasz")
BEFORE = {
    "data": {"train_share": 1.0, "foreground_share": 0.0, "weight_map": False, "weight_map_sigma": 5.0},
    "train": {
        "start_from": "",
        "patience": 0,
        "tensorboard": False,
        **{"num_epochs": 0.0, "num_examples": 0, "eval_every_epochs": 0.0, "eval_every_examples": 0},
    },
    "optim": {
        **{"warmup_epochs": 0.0, "warmup_examples": 0, "boundaries": (), "factor": 0.1},
        **{"plateau_patience": 3, "plateau_gain": 1e-4, "decay": 0.9},
        **{"accumulate": 1, "ema_decay": 0.0, "freeze": (), "rates": ()},
    },
    "eval": {"weights": "raw"},
    "loss": {
        "class_weighting": "",
        "terms": dict.fromkeys(NEW_LOSSES, 0.0),
        "knobs": {  # without effect: those losses were not there
            "weighted_cross_entropy": {"w0": 10.0},
            "focal": {"gamma": 2.0},
            "tversky": {"alpha": 0.3, "beta": 0.7},
            "focal_tversky": {"alpha": 0.3, "beta": 0.7, "gamma": 4 / 3},
        },
    },
    "augment": dataclasses.asdict(Knobs()),  # all off
    "model": {"variant": "", "encoder": "", "encoder_weights": "", "remat": ()},  # of U-Net and U-Net++
}


def add_missing(config: ConfigDict) -> None:
    """Adds to a run's config those keys of `BEFORE` that it lacks."""
    for section, values in BEFORE.items():
        if section != "model" or config.model.name in ("unet", "unet_pp"):
            _fill(config[section], values)


def _fill(config: ConfigDict, values: dict) -> None:
    for name, value in values.items():
        if name not in config:
            config[name] = value
        elif isinstance(value, dict):
            _fill(config[name], value)
