"""The programs from outside: bad input ends in one line that names it, status 2, no traceback; help tells the flags."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(program, *arguments, **environment):
    env = os.environ | {"PYTHONWARNINGS": ""} | environment
    command = [sys.executable, ROOT / program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


DEFAULT = "--config=configs/default.py"


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("run_train.py", [DEFAULT], "workdir"),
        ("run_train.py", ["--config=configs/nope.py", "--workdir=x"], "configs/nope.py: no such file; in that folder: configs/b"),
        ("run_train.py", [DEFAULT + ":abc", "--workdir=x"], "'abc' is no recipe of augmentation; known: nnunet, unet"),
        ("run_train.py", [DEFAULT, "--workdir=x", "--config.optim.lr=1"], "--config.optim.lr: no such key; config.optim has: accumulate, b1"),
        ("run_train.py", [DEFAULT, "--workdir=x", "--config.train.num_steps=ten"], "num_steps=ten"),
        ("run_train.py", [DEFAULT, "--workdir=x", "--wrokdir=x"], "wrokdir"),
        ("run_train.py", ["-config=configs/default.py", "--workdir=x", "-config.optim.lr=1"], "--config.optim.lr: no such key"),
        ("run_train.py", ["--config=run_eval.py", "--workdir=x"], "--config=run_eval.py: "),
        ("run_eval.py", ["--workdir=x", "--images=", "--out="], "neither is empty"),
        ("run_train.py", [DEFAULT, "--workdir=x", "stray"], "'stray' is not a flag"),
        ("run_train.py", [DEFAULT, "--workdir=x", "--config.optim.name=lamb"], "'lamb' is unknown; known: adamw"),
        ("run_eval.py", ["--workdir=/no/such/run"], "/no/such/run has no config.json"),
        ("run_eval.py", ["--workdir=x", "--images=y"], "--images and --out go together"),
        ("run_eval.py", ["--workdir=x", "--mode=slow"], "slow"),
        ("run_train.py", [DEFAULT, "--workdir=x", "--multiprocess"], "nothing tells this process which job it belongs to"),
    ],
)  # fmt: skip
def test_bad_input_ends_in_one_line(program, arguments, message, tmp_path):
    """And before any data are prepared: there are none in the cache."""
    done = call(program, *arguments, UNET_JAX_CACHE=str(tmp_path))
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert not any(tmp_path.iterdir())
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


def test_compiled_programs_are_kept_and_found_again(tmp_path, monkeypatch, cache_dir):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # or a busy machine decides what is kept
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    # The smallest whole run there is.
    tiny = [
        "--config=configs/smoke.py", "--config.model.widths=(4, 8)", "--config.data.patch=(16, 16)",
        "--config.data.size=(32, 32)", "--config.data.num_train=8", "--config.data.num_val=4", "--config.data.num_test=4",
        "--config.train.num_steps=2", "--config.optim.warmup_steps=1", "--config.eval.num_pictures=1",
        f"--config.data.cache_dir={cache_dir}",
    ]  # fmt: skip

    def programs(*command):
        done = call(*command)
        assert done.returncode == 0, done.stderr
        return {path.name for path in (tmp_path / "home").rglob("*-cache")}

    workdir = f"--workdir={tmp_path / 'run'}"
    assert programs("run_train.py", *tiny, workdir, "--nocompilation_cache") == set()
    first = programs("run_eval.py", workdir)
    assert first
    assert programs("run_eval.py", workdir) == first
