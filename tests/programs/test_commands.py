"""The command `unet-jax`: its table, its help, and what it does with a wrong name."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import unet_jax
from unet_jax.programs import commands
from unet_jax.runtime import cli

ROOT = Path(__file__).parents[2]
NAMES = commands.names()
# Libraries that take longer to import than a help may take.
HEAVY = ("jax", "numpy", "cv2", "matplotlib", "orbax", "grain", "scipy", "skimage", "fsspec", "etils")

HELP = f"""
import sys
from unet_jax.programs import commands
try:
    commands.run()
except SystemExit as end:
    assert end.code in (0, None), end.code
print("loaded:", [name for name in {HEAVY} if name in sys.modules])
"""


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [[], ["--help"], *([name, "--help"] for name in NAMES)], ids=" ".join)
def test_help_loads_nothing_that_takes_long(arguments):
    done = python("-c", HELP, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_the_table_lists_every_program():
    files = {path.stem for path in (ROOT / "unet_jax" / "programs").glob("*.py")} - {"__init__", "commands"}
    assert {commands.module_name(name).rpartition(".")[2] for name in NAMES} == files
    assert len(NAMES) == len(set(NAMES))


def test_help_shows_every_command_with_its_line_and_its_example():
    text = commands.help_text()
    for group, of_group in commands.COMMANDS.items():
        assert f"\n{group}:\n" in text
        for name, command in of_group.items():
            assert f"  {name} " in text
            assert f" {command.line}\n" in text
            assert f"  unet-jax {name} {command.example}" in text


def test_the_help_of_every_command_in_one_process():
    """An example first, then each flag: a page that lists them all can be made."""
    for name in NAMES:
        module = importlib.import_module(commands.module_name(name))
        text = cli.help_text(module.__doc__, module.FLAGS)
        assert f"\n    unet-jax {name} " in text
        assert all(f"--{flag}" in text or f"--[no]{flag}" in text for flag in [*module.FLAGS, *cli.COMMON])


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_of_an_example_is_there(name):
    """Of the table and of the command's docstring."""
    module = importlib.import_module(commands.module_name(name))
    (example,) = [of_group[name].example for of_group in commands.COMMANDS.values() if name in of_group]
    lines = [line.partition(" # ")[0] for line in module.__doc__.splitlines() if f"    unet-jax {name} " in line]
    flags = {word.partition("=")[0] for line in [example, *lines] for word in line.split() if word.startswith("--")}
    assert {flag[2:] for flag in flags if not flag.startswith("--config.")} <= set(module.FLAGS)


def test_a_name_that_is_no_command_ends_in_a_line():
    done = python("-m", "unet_jax", "trian", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: trian ")
    assert "did you mean train?" in line
    assert ", ".join(NAMES) in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], ["empty"]),
        (["--config=smoke"], ["missing", "--config=smoke"]),
        (["help", "trian"], ["did you mean train?"]),
    ],
)
def test_a_first_word_that_is_no_command(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["unet-jax", *arguments])
    with pytest.raises(SystemExit, match="2"):
        commands.run()
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in [*words, ", ".join(NAMES)])


def test_help_of_a_command_in_two_orders(monkeypatch, capsys):
    texts = []
    for arguments in (["help", "train"], ["train", "--help"]):
        monkeypatch.setattr(sys, "argv", ["unet-jax", *arguments])
        with pytest.raises(SystemExit, match="0"):
            commands.run()
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "--sweep_index" in texts[0]


def test_a_command_runs_by_its_name_and_by_its_module():
    for start in (("-m", "unet_jax"), ("-m", "unet_jax.programs.commands")):
        done = python(*start, "verify-resume", "--config=smoke")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: --workdir ")
    assert python("-m", "unet_jax.programs.verify_resume", "--config=smoke").stderr == done.stderr


def test_the_version_has_one_owner():
    done = python("-m", "unet_jax", "--version")
    assert (done.returncode, done.stdout) == (0, f"unet-jax {unet_jax.__version__}\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["project"]["scripts"] == {"unet-jax": f"{commands.__name__}:{commands.run.__name__}"}
