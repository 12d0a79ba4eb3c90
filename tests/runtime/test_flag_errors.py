"""Wrong flags: each error names the flag and the value as they were given, and what to give instead."""

import sys

import pytest
from absl import flags
from ml_collections.config_flags.tuple_parser import TupleParser

from unet_jax.runtime import cli

DOC = """Does a thing.

    program --config=smoke --out=x    # a remark
    program --config=default
"""


def call():
    """Runs a program with flags of every kind and one argument."""
    values = flags.FlagValues()
    cli.define_config(values)
    flags.DEFINE_string("out", None, "", values, required=True)
    flags.DEFINE_integer("level", 0, "", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("process", None, "", lower_bound=0, flag_values=values)
    flags.DEFINE_float("share", 0.5, "", lower_bound=0.25, upper_bound=1.0, flag_values=values)
    flags.DEFINE_enum("mode", None, ["accurate", "fast"], "", values)
    flags.DEFINE_bool("strict", False, "", values)
    flags.DEFINE(TupleParser(), "patch", (8, 8), "", values, serializer=flags.ArgumentSerializer())
    cli.run(lambda *positional: None, DOC, values, arguments=("FOLDER",))


@pytest.fixture
def error(monkeypatch, capsys):
    """Returns the line that the program prints for some arguments."""

    def error(*arguments):
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        with pytest.raises(SystemExit, match="2"):
            call()
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix("error: ")

    return error


GIVEN = ("--config=smoke", "--out=x", "folder")


@pytest.mark.parametrize(
    ("flag", "wanted"),
    [
        ("--config.train.num_steps=abc", "--config.train.num_steps=abc: give a whole number"),
        ("--config.train.num_steps=", "--config.train.num_steps has no value; give a whole number"),
        ("--config.train.num_steps", "--config.train.num_steps has no value; give a whole number"),
        ("--config.optim.learning_rate=x: y", "--config.optim.learning_rate=x: y: give a number"),
        ("--config.optim.nesterov=maybe", "--config.optim.nesterov=maybe: give True or False"),
        ("--config.model.widths=(1,", "--config.model.widths=(1,: give a tuple"),
        ("--config.data.physics=x", "--config.data.physics=x: give keys and values in braces"),
        ("--config.train=5", "--config.train=5: config.train is a section; "),
        ("--config.train", "--config.train: config.train is a section"),
        ("--config.model=", "--config.model has no value; give one of unet_pp, unet"),
        ("--config=", "--config has no value; give one of battery_xray"),
        ("--level=x", "--level=x: give a whole number of at least 0"),
        ("--level=-1", "--level=-1: give a whole number of at least 0"),
        ("--share=2", "--share=2: give a number of at least 0.25 and at most 1.0"),
        ("--mode=slow", "--mode=slow: give one of accurate, fast"),
        ("--mode", "--mode has no value; give one of accurate, fast"),
        ("--strict=maybe", "--strict=maybe: give True or False"),
        ("--patch=(1,", "--patch=(1,: give a tuple"),
    ],
)
def test_a_wrong_value(error, flag, wanted):
    assert error(*GIVEN, flag).startswith(wanted)


@pytest.mark.parametrize(
    ("flag", "similar"),
    [
        ("--config.train.num_step=3", "--config.train.num_steps?"),
        ("--config.trian.num_steps=3", "--config.train.num_steps?"),
        ("--config.learning_rate=3", "--config.optim.learning_rate?"),
        ("--config.train.learning_rate=3", "--config.optim.learning_rate?"),
        ("--confg=x", "--config?"),
        ("--levl=1", "--level?"),
        ("--nolevel", "--level?"),
    ],
)
def test_a_misspelt_name(error, flag, similar):
    assert f"did you mean {similar}" in error(*GIVEN, flag)


@pytest.mark.parametrize("flag", ["--config.model.spam=1", "--config.optim.lr=1", "--zzz"])
def test_a_name_that_is_like_no_other(error, flag):
    line = error(*GIVEN, flag)
    assert line.startswith(f"{flag.partition('=')[0]}: ")
    assert "did you mean" not in line


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ([], "--config, --out and FOLDER are missing; for example: program --config=smoke --out=x"),
        (["--out=x", "folder"], "--config is missing; for example: program --config=smoke --out=x"),
        (["--config=smoke", "--out=x"], "FOLDER is missing; for example: program --config=smoke --out=x"),
    ],
)
def test_all_that_is_missing(error, arguments, missing):
    assert error(*arguments) == missing


def test_a_network_by_its_name_alone(error):
    line = error(*GIVEN, "--config.model.name=unet")
    assert line.startswith("--config.model.name=unet: ")
    assert "deep_supervision, level" in line
    assert "--config.model=unet" in line


def test_a_section_after_its_key(error):
    line = error(*GIVEN, "--config.data.patch=(1, 2)", "--config.data={}")
    assert "--config.data " in line
    assert "--config.data.patch" in line


def test_a_path_that_begins_with_a_dash_is_named_with_its_remedy(error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-scans", "--x.png"):
        (tmp_path / name).mkdir()
        assert error("--config=smoke", "--out=x", name) == (
            f"{name}: no such flag; for the file or folder of that name write ./{name}"
        )
