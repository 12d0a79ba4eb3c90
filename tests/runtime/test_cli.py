"""The programs from outside: bad input ends in one line that names it, status 2, no traceback; help names the flags."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from unet_jax.runtime import cli

ROOT = Path(__file__).parents[2]


def call(program, *arguments, **environment):
    env = os.environ | {"PYTHONWARNINGS": ""} | environment
    command = [sys.executable, ROOT / program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


DEFAULT = "--config=configs/default.py"


@pytest.mark.parametrize(
    ("program", "arguments", "wanted"),
    [
        ("run_train.py", [DEFAULT], ["workdir"]),
        ("run_train.py", ["--config=configs/nope.py", "--workdir=x"], ["configs/nope.py: ", "configs/b"]),
        ("run_train.py", [f"{DEFAULT}:abc", "--workdir=x"], ["'abc'", "nnunet, unet"]),
        (
            "run_train.py",
            [DEFAULT, "--workdir=x", "--config.optim.lr=1"],
            ["--config.optim.lr: ", "config.optim has: accumulate, b1"],
        ),
        ("run_train.py", [DEFAULT, "--workdir=x", "--config.train.num_steps=ten"], ["num_steps=ten"]),
        ("run_train.py", [DEFAULT, "--workdir=x", "--wrokdir=x"], ["wrokdir"]),
        (
            "run_train.py",
            ["-config=configs/default.py", "--workdir=x", "-config.optim.lr=1"],
            ["--config.optim.lr: ", "config.optim has: accumulate, b1"],
        ),
        ("run_train.py", ["--config=run_eval.py", "--workdir=x"], ["--config=run_eval.py: "]),
        ("run_eval.py", ["--workdir=x", "--images=", "--out="], ["--images", "--out", "empty"]),
        ("run_train.py", [DEFAULT, "--workdir=x", "stray"], ["'stray'", "--help"]),
        ("run_train.py", [DEFAULT, "--workdir=x", "--config.optim.name=lamb"], ["'lamb'", "adamw"]),
        ("run_eval.py", ["--workdir=/no/such/run"], ["/no/such/run", "config.json"]),
        ("run_eval.py", ["--workdir=x", "--images=y"], ["--out is missing"]),
        ("run_eval.py", ["--workdir=x", "--out=y"], ["--images is missing"]),
        ("run_eval.py", ["--workdir=x", "--root="], ["--root", "empty"]),
        ("unet_jax/programs/plan.py", ["--config=smoke", "--out="], ["--out", "empty"]),
        ("unet_jax/programs/skips.py", ["--workdir=x", "--workdir="], ["--workdir", "empty"]),
        ("run_eval.py", ["--workdir=x", "--mode=slow"], ["slow"]),
        ("run_train.py", [DEFAULT, "--workdir=x", "--multiprocess"], ["--multiprocess: ", "--coordinator="]),
    ],
)
def test_bad_input_ends_in_one_line(program, arguments, wanted, tmp_path):
    """And before any data are prepared: there are none in the cache."""
    done = call(program, *arguments, UNET_JAX_CACHE=str(tmp_path))
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert not any(tmp_path.iterdir())
    assert lines[0].startswith("error: ")
    assert [text for text in wanted if text not in lines[0]] == [], lines[0]


PROGRAM = """
from absl import flags
from unet_jax.runtime import cli
FLAGS = flags.FlagValues()
cli.define_config(FLAGS)
cli.run(lambda: print(FLAGS.config.a), "A program.", FLAGS)
"""


@pytest.mark.parametrize(
    ("body", "override", "status", "wanted"),
    [
        ("", "--config.a=3", 0, "3"),
        ("", "--config.b=3", 2, "--config.b: "),
        ("", "--config.a.b=3", 2, "--config.a.b: "),
        ("", "--config.a=x", 2, "a=x"),
        ("raise ValueError('five')", "", 2, "five"),
        ("raise OSError('five')", "", 2, "OSError: five"),
        ("raise ValueError('five')", "--config.a=3", 2, "five"),
    ],
)
def test_a_config_is_executed_once(tmp_path, body, override, status, wanted):
    (tmp_path / "program.py").write_text(PROGRAM)
    lines = ["from ml_collections import ConfigDict", "print('executed')", "def get_config():"]
    lines += [f"    {line}" for line in (body, "return ConfigDict({'a': 1})") if line]
    (tmp_path / "config.py").write_text("\n".join(lines))
    arguments = [argument for argument in (f"--config={tmp_path}/config.py", override) if argument]
    done = call(tmp_path / "program.py", *arguments, PYTHONPATH=str(ROOT))
    assert done.returncode == status, done.stderr
    assert wanted in (done.stderr if status else done.stdout)
    assert len(done.stderr.splitlines()) == bool(status)
    assert done.stdout.count("executed") == 1


def test_traceback_on_request():
    done = call("run_eval.py", "--workdir=/no/such/run", "--traceback")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("run_train.py", ["--config", "--workdir", "traceback", "multiprocess"]),
        ("run_eval.py", ["--checkpoint", "--split", "--mode", "--level", "--images", "--out", "overwrite"]),
    ],
)
def test_help_names_every_flag(program, flags):
    done = call(program, "--help")
    assert done.returncode == 0
    assert all(flag in done.stdout for flag in flags)
    assert program.removeprefix("run_").removesuffix(".py") in done.stdout


def test_compiled_programs_are_kept_and_found_again(tmp_path, monkeypatch, cache_dir):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    # Otherwise it would depend on the machine's speed which programs are kept.
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    # The smallest whole run there is.
    keys = {
        "model.widths": "(4, 8)",
        "data.patch": "(16, 16)",
        "data.size": "(32, 32)",
        "data.num_train": 8,
        "data.num_val": 4,
        "data.num_test": 4,
        "data.cache_dir": cache_dir,
        "train.num_steps": 2,
        "optim.warmup_steps": 1,
        "eval.num_pictures": 1,
    }
    tiny = ["--config=configs/smoke.py", *(f"--config.{key}={value}" for key, value in keys.items())]

    def programs(*command):
        done = call(*command)
        assert done.returncode == 0, done.stderr
        return {path.name for path in (tmp_path / "home").rglob("*-cache")}

    workdir = f"--workdir={tmp_path / 'run'}"
    assert programs("run_train.py", *tiny, workdir, "--nocompilation_cache") == set()
    first = programs("run_eval.py", workdir)
    assert first
    assert programs("run_eval.py", workdir) == first


def test_what_a_terminal_cannot_show_is_escaped(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setattr(cli.compilation_cache, "enable", lambda enabled: None)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    cli.run(lambda: print("gr\u00fcn", flush=True), "A program.", flags.FlagValues())
    assert written.getvalue() == b"gr\\xfcn\n"
