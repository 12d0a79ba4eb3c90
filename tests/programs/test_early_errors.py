"""Wrong values of a config end every program that takes one before JAX is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CALL = """
import importlib, sys
try:
    importlib.import_module("unet_jax.programs." + sys.argv.pop(1)).run()
finally:
    print("loaded:", [name for name in ("jax", "orbax", "cv2") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("train", ["--workdir=X"]),
        ("plan", []),
        ("plan", ["--topology=v5e:2x2"]),
        ("preview", ["--out=x.png"]),
        ("certify", []),
        ("verify_resume", ["--workdir=X"]),
        ("gradients", ["--out=x"]),
    ],
)
@pytest.mark.parametrize("change", ["optim.learning_rate=-1", "optim.lr=1", "model=vnet"])
def test_a_wrong_value_is_found_at_once(program, flags, change, tmp_path):
    command = [sys.executable, "-c", CALL, program, "--config=smoke", f"--config.{change}", *flags]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert change.partition("=")[0] in line
    assert done.stdout == "loaded: []\n"
    assert list(tmp_path.iterdir()) == []
