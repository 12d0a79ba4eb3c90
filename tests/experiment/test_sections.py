"""Every key of every section: unknown, missing, at the ends of its range, and against other sections."""

import dataclasses
import functools
import math
import operator
import re

import numpy as np
import pytest
from ml_collections import ConfigDict

from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.experiment import sections
from unet_jax.experiment.durations import EVERY, LENGTH, WARMUP
from unet_jax.experiment.sections import read_sections
from unet_jax.runs.resume import _flat

DEFAULT = default.get_config().to_dict()
FLOATS = [key for key, value in _flat(DEFAULT).items() if isinstance(value, float)]
SECTION_NAMES = [name for name in DEFAULT if name not in ("seed", "imports")]

# The least and the largest value of whole numbers.
RANGES = {
    "seed": (0, 2**32 - 1),
    "train.batch_size": (1, math.inf),
    "train.log_every": (1, math.inf),
    "train.patience": (0, math.inf),
    "optim.accumulate": (1, math.inf),
    "optim.plateau_patience": (1, 2**31 - 1),
    "eval.batch_size": (1, math.inf),
    "eval.pad_multiple": (1, 2**14),
    "eval.num_pictures": (0, math.inf),
    "checkpoint.every": (0, math.inf),
    "checkpoint.latest": (1, math.inf),
    "data.num_threads": (1, 1024),
    "data.cache_bytes": (0, math.inf),
}


def changed(changes):
    """Returns the default config with other values by dotted key, of any type."""
    tree = default.get_config().to_dict()
    for key, value in changes.items():
        *parents, last = key.split(".")
        functools.reduce(operator.getitem, parents, tree)[last] = value
    return ConfigDict(tree)


def raises(key, value):
    return pytest.raises(UserError, match=f"{re.escape(key)}\\b.*{re.escape(str(value))}")


def test_the_sections_hold_every_value_of_the_config():
    sections_read = read_sections(default.get_config())
    for name, section in DEFAULT.items():
        if name in ("model", "data"):
            parts = [sections_read.model] if name == "model" else [sections_read.data, sections_read.loading]
            values = {key: value for part in parts for key, value in vars(part).items()}
            values |= values.pop("options")
        else:
            value = getattr(sections_read, name)
            values = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
        assert values == section


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])  # the last is infinite in float32
def test_no_number_is_infinite(value):
    assert len(FLOATS) > 50
    for key in FLOATS:
        with raises(key, value):
            read_sections(changed({key: value}))
    for key, within in (
        ("loss.class_weights", (1.0, value)),
        ("augment.scale", (1.0, value)),
        ("optim.lr_multipliers", (("encoder/*", value),)),
        ("data.physics", {"wall": value}),
    ):
        with raises(key, value):
            read_sections(changed({key: within}))


@pytest.mark.parametrize(("key", "bounds"), RANGES.items())
def test_a_whole_number_is_within_its_range(key, bounds):
    least, most = bounds
    read_sections(changed({key: least}))
    with raises(key, least - 1):
        read_sections(changed({key: least - 1}))
    if most < math.inf:
        read_sections(changed({key: most}))
        with raises(key, most + 1):
            read_sections(changed({key: most + 1}))


def test_every_whole_number_is_tested():
    """Except durations, which have tests, and the options that the network, the data set and augmentation check."""
    whole = {key for key, value in _flat(DEFAULT).items() if type(value) is int}
    durations = {f"train.{key}" for key in (*LENGTH, *EVERY)} | {f"optim.{key}" for key in WARMUP}
    of_the_data_set = {f"data.{key}" for key in set(default.electrodes()) - set(default.pipeline())}
    checked_elsewhere = {key for key in whole if key.startswith(("model.", "augment."))} | of_the_data_set
    assert whole - durations - checked_elsewhere == set(RANGES)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.name", "lamb"),
        ("optim.schedule", "zigzag"),
        ("optim.learning_rate", 0.0),
        ("optim.power", 0.0),
        ("optim.lr_drop_factor", 1.0),
        ("optim.plateau_gain", 0.0),
        ("optim.weight_decay", -1.0),
        ("optim.grad_clip", -1.0),
        ("optim.b1", 1.5),
        ("optim.b2", 1.0),
        ("optim.momentum", -0.1),
        ("optim.rmsprop_decay", 1.0),
        ("optim.eps", 0.0),
        ("optim.ema_decay", 1.0),
        ("optim.freeze", ("",)),
        ("optim.lr_multipliers", (("a", -1.0),)),
        ("optim.boundaries", ("a",)),
        ("train.num_steps", -3),
        ("train.num_epochs", -1.0),
        ("eval.weights", "both"),
        ("eval.mode", "slow"),
        ("eval.memory", "much"),
        ("eval.memory", 2**30),
        ("eval.classes", (3,)),
        ("data.patch", (32,)),
        ("data.patch", (32, 0)),
        ("data.patch", (32.5, 32)),
        ("data.normalize", "none"),
        ("data.foreground_fraction", 1.1),
        ("data.train_fraction", 0.0),
        ("data.weight_map_sigma", 0.0),
        ("data.targets", "edges"),
        ("data.border_width", 0.5),
        ("loss.weights.dice", -1.0),
        ("loss.class_weighting", "mean"),
        ("loss.head_weights", (-1.0,)),
        ("augment.rotate", 181.0),
        ("augment.probability.noise", 1.5),
    ],
)
def test_a_value_outside_its_domain_is_named(key, value):
    last = value[-1] if isinstance(value, tuple) else value
    if isinstance(last, tuple):
        last = last[-1]
    with raises(key, last):
        read_sections(changed({key: value}))


@pytest.mark.parametrize(
    ("key", "value"), [("widths", (0, 3)), ("dropout", 1.0), ("norm", "layer"), ("activation", "relu")]
)
def test_the_network_checks_its_options_before_there_are_data(key, value):
    with raises(f"model.{key}", value):
        read_sections(changed({f"model.{key}": value}))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"eval.weights": "ema"}, ("eval.weights", "'ema'", "optim.ema_decay")),
        ({"loss.weights.weighted_cross_entropy": 1.0}, ("1.0", "data.weight_map", "False")),
        ({"data.weight_map": True}, ("loss.weights.weighted_cross_entropy", "0.0", "data.weight_map", "True")),
        (
            {"loss.class_weights": (1.0, 2.0, 3.0), "loss.class_weighting": "median"},
            ("loss.class_weights (1.0, 2.0, 3.0)", "loss.class_weighting 'median'"),
        ),
        ({"model.encoder_weights": "x.npz"}, ("model.encoder_weights=x.npz", "model.encoder")),
        ({"optim.accumulate": 3}, ("train.batch_size 8", "optim.accumulate 3")),
        ({"train.batch_size": 2**19, "data.patch": (64, 64)}, ("train.batch_size 524288", "data.patch (64, 64)")),
        ({"loss.weights.bce_dice": 1.0}, ("bce_dice", "model.activation", "'softmax'")),
        ({"loss.weights.focal": 1.0, "loss.options.focal.gamma": -1.0}, ("loss.options.focal.gamma", "-1.0")),
        ({"train.num_epochs": 2.0}, ("train.num_steps=320", "train.num_epochs=2.0")),
    ],
)
def test_what_contradicts_itself_is_named(changes, named):
    with pytest.raises(UserError) as caught:
        read_sections(changed(changes))
    for text in named:
        assert text in str(caught.value)


@pytest.mark.parametrize("name", [name for name in SECTION_NAMES if name not in ("model", "data")])
def test_an_unknown_key_is_named_with_the_known_ones(name):
    with raises(f"{name}.optics", "no such key") as caught:
        read_sections(changed({f"{name}.optics": 1}))
    for key in DEFAULT[name]:
        assert key in str(caught.value).partition("has:")[2]


def test_an_unknown_section_or_option_is_named():
    with raises("config.optics", "optim, train"):
        read_sections(changed({"optics": 1}))
    with raises("optics", "widths"):
        read_sections(changed({"model.optics": 1}))


@pytest.mark.parametrize("name", [name for name in SECTION_NAMES if name != "augment"])
def test_a_missing_key_is_named(name):
    """Only configs/default.py has defaults: no class has any."""
    section = {"model": sections.ModelSection, "data": sections.DataSection}.get(name)
    keys = sections.keys_of(section) if section else DEFAULT[name]
    for key in set(keys) - {"options" if section else "", "encoder_weights"}:
        config = default.get_config()
        del config[name][key]
        with raises(f"{name}.{key}", "missing"):
            read_sections(config)


def test_a_missing_section_is_named():
    config = default.get_config()
    del config["optim"]
    with raises("config.optim", "missing"):
        read_sections(config)
    with raises("optim", 3):
        read_sections(changed({"optim": 3}))


def test_a_network_without_an_encoder_has_no_weights_for_it():
    config = default.get_config()
    config.model = default.fcn()
    assert read_sections(config).model.encoder_weights == ""


def test_lists_of_a_json_file_become_tuples():
    assert read_sections(changed({"eval.classes": ["anode"]})).eval.classes == ("anode",)


def test_a_section_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_sections(default.get_config()).train.batch_size = 3


def test_numbers_of_numpy_become_those_of_python():
    config = default.get_config().to_dict()
    config["seed"], config["data"]["num_val"] = np.int64(3), np.int64(2)
    checked = read_sections(config)
    assert type(checked.seed) is type(checked.data.options["num_val"]) is int
