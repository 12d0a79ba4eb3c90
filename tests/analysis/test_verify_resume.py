"""A run killed twice, once in a save, and resumed: the program finds it equal, and the comparison finds differences."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unet_jax.analysis.verify_resume import kills
from unet_jax.analysis.verify_resume.verify import compare, same_conditions, shorten, verify_resume
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.configs import default
from unet_jax.errors import UserError

ROOT = Path(__file__).parents[2]
TINY = [
    "--config=configs/electrodes_unet.py", "--config.model.widths=(2, 3)",
    "--config.data.patch=(16, 16)", "--config.data.size=(32, 32)", "--config.data.num_train=8",
    "--config.data.num_val=1", "--config.data.num_test=1", "--config.eval.num_pictures=1",
]  # fmt: skip


def test_killed_run_gives_the_same_bits_and_differences_show(tmp_path, cache_dir):
    shared = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    # As a user's run is compiled.
    shared["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"
    program = [sys.executable, "-m", "unet_jax.programs.verify_resume"]
    places = [f"--config.data.cache_dir={cache_dir}", f"--workdir={tmp_path}"]
    done = subprocess.run(
        [*program, *TINY, *places, "--kills=2", "--steps=12", "--deterministic"],
        cwd=ROOT,
        env=os.environ | shared | {"XLA_FLAGS": "", "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        # Four starts, also on a busy machine.
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checkpoint 12 bit by bit, 15 rows" in done.stdout
    assert "2 kills, 1 of them" in done.stdout
    assert re.search(r"^condition: the same 1 device\(s\) cpu, \d+ CPU cores ", done.stdout, re.MULTILINE)
    assert "the starts differ" not in done.stdout
    one, other = tmp_path / "verify_resume/undisturbed", tmp_path / "verify_resume/killed"
    starts = [json.loads((workdir / "versions.json").read_text())["starts"] for workdir in (one, other)]
    assert [len(s) for s in starts] == [1, 3]
    assert all(start["xla_flags"] == "--xla_gpu_deterministic_ops=true" for start in starts[1])

    with pytest.raises(UserError, match=r"/verify_resume .*--workdir"):
        verify_resume(default.get_config(), tmp_path, command=[])
    with Checkpointer(other / "checkpoints", read_only=True) as checkpointer:
        leaves = checkpointer.read_leaves(12)
    name = next(name for name in leaves if name.startswith("params/") and name.endswith("kernel"))
    leaves[name] = leaves[name].copy()
    leaves[name].flat[0] += np.float32(0.5)
    spoilt = tmp_path / "spoilt"
    with Checkpointer(spoilt / "checkpoints") as checkpointer:
        checkpointer.save(12, leaves)
    text = (other / "metrics.jsonl").read_text()
    row = next(line for line in text.splitlines() if '"step": 5,' in line)
    (spoilt / "metrics.jsonl").write_text(text.replace(row, json.dumps(json.loads(row) | {"loss": 9.0})))
    differences, _ = compare(one, spoilt)
    assert len(differences) == 2
    assert all(part in differences[0] for part in ("metrics.jsonl", "step 5 (train)", "loss", "9.0 killed"))
    assert all(part in differences[1] for part in (f"1 of {len(leaves)} leaves of checkpoint 12", "0.5", name))
    (spoilt / "metrics.jsonl").write_text("".join(text.splitlines(keepends=True)[:3]))
    shutil.rmtree(spoilt / "checkpoints")
    with Checkpointer(spoilt / "checkpoints") as checkpointer:
        checkpointer.save(10, leaves)
    differences, _ = compare(one, spoilt)
    assert all(part in differences[0] for part in ("metrics.jsonl", "step 4 (train)", "only the undisturbed run"))
    assert all(part in differences[1] for part in ("checkpoint", "12 undisturbed", "10 killed"))


def test_starts_on_other_cores_are_named(tmp_path):
    def start(threads):
        return {"device_kind": "cpu", "device_count": 1, "cpu": {"model": "m", "instructions": [], "threads": threads}}

    facts = {"fingerprint": "a", "class_names": ["a"], "channels": 1, "overlapping": False, "palette": [], "splits": {}}
    for name, threads in (("one", [2]), ("other", [2, 1, 1])):
        (tmp_path / name).mkdir()
        content = {"data": facts, "starts": [start(n) for n in threads]}
        (tmp_path / name / "versions.json").write_text(json.dumps(content))
    condition, differing = same_conditions(tmp_path / "one", tmp_path / "other")
    assert "2 CPU cores (m)" in condition
    assert len(differing) == 1
    assert "CPU cores 2 there, 1 now" in differing[0]
    assert same_conditions(tmp_path / "one", tmp_path / "one")[1] == []


def test_config_is_shortened_in_any_unit_of_durations():
    config = default.get_config()
    config.train.update({"num_steps": 0, "num_epochs": 90.0, "eval_every": 0, "eval_every_examples": 1000})
    config.optim.update({"warmup_steps": 0, "warmup_epochs": 5.0, "schedule": "step", "boundaries": (30, 60)})
    short, changed = shorten(config, 12)
    assert changed == {
        "checkpoint.every": 2, "optim.boundaries": (6,), "optim.warmup_epochs": 0.0, "optim.warmup_steps": 3,
        "train.eval_every": 4, "train.eval_every_examples": 0, "train.log_every": 1, "train.num_epochs": 0.0,
        "train.num_steps": 12,
    }  # fmt: skip
    assert config.train.num_epochs == 90
    assert short.train.num_steps == 12


def test_moments_depend_on_the_seed_and_a_third_is_in_a_save():
    moments = kills.draw_moments(20, 60, seed=1)
    assert moments == kills.draw_moments(20, 60, seed=1) != kills.draw_moments(20, 60, seed=2)
    assert sum(moment.in_save for moment in moments) == 7
    assert [moment.step for moment in moments] == sorted(moment.step for moment in moments)
    assert all(1 <= moment.step <= 45 for moment in moments)


def test_a_run_that_fails_or_ends_too_soon_is_an_error(tmp_path):
    moments = [kills.Moment(1, False)]
    for code, message in (("print('error: no'); exit(2)", r"status 2 \(error: no\)"), ("", r"0 of 1 kills.*--steps")):
        with pytest.raises(UserError, match=message):
            kills.run_killed([sys.executable, "-c", code], tmp_path, tmp_path / "log", moments, seed=0, report=print)


def test_a_terminated_verification_ends_its_child(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    child = kills.Child(["sleep", "600"], tmp_path / "log")
    with pytest.raises(SystemExit, match="143"), child:
        os.kill(os.getpid(), signal.SIGTERM)
    assert not child.running()
    assert signal.getsignal(signal.SIGTERM) is before
