"""The programs from outside: bad input ends in one line that names it, status 2, no traceback; help tells the flags."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def call(program, *arguments):
    env = os.environ | {"PYTHONWARNINGS": ""}
    command = [sys.executable, ROOT / program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


DEFAULT = "--config=configs/default.py"


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("run_train.py", [DEFAULT], "workdir"),
        ("run_train.py", ["--config=configs/nope.py", "--workdir=x"], "configs/nope.py: no such file; in that folder: configs/b"),
        ("run_train.py", [DEFAULT + ":abc", "--workdir=x"], "takes no argument after a colon, got 'abc'"),
        ("run_train.py", [DEFAULT, "--workdir=x", "--config.optim.lr=1"], "--config.optim.lr: no such key; config.optim has: b1"),
        ("run_train.py", [DEFAULT, "--workdir=x", "--config.train.num_steps=ten"], "num_steps=ten"),
        ("run_train.py", [DEFAULT, "--workdir=x", "--wrokdir=x"], "wrokdir"),
        ("run_train.py", ["-config=configs/default.py", "--workdir=x", "-config.optim.lr=1"], "--config.optim.lr: no such key"),
        ("run_train.py", ["--config=run_eval.py", "--workdir=x"], "--config=run_eval.py: "),
        ("run_eval.py", ["--workdir=x", "--images=", "--out="], "neither is empty"),
        ("run_train.py", [DEFAULT, "--workdir=x", "stray"], "'stray' is not a flag"),
        ("run_train.py", [DEFAULT, "--workdir=x", "--config.optim.name=lion"], "'lion' is unknown; known: adamw"),
        ("run_eval.py", ["--workdir=/no/such/run"], "/no/such/run has no config.json"),
        ("run_eval.py", ["--workdir=x", "--images=y"], "--images and --out go together"),
        ("run_eval.py", ["--workdir=x", "--mode=slow"], "slow"),
    ],
)  # fmt: skip
def test_bad_input_ends_in_one_line(program, arguments, message):
    done = call(program, *arguments)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def test_traceback_on_wish():
    done = call("run_eval.py", "--workdir=/no/such/run", "--traceback")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("run_train.py", ["--config", "--workdir", "--traceback"]),
        ("run_eval.py", ["--checkpoint", "--split", "--mode", "--level", "--images", "--out", "overwrite"]),
    ],
)
def test_help_tells_every_flag(program, flags):
    done = call(program, "--help")
    assert done.returncode == 0
    assert all(flag in done.stdout for flag in flags)
    assert "python " + program in done.stdout
