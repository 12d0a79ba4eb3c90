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
    line = error_at_once(tmp_path, program, "--config=smoke", f"--config.{change}", *flags)
    assert change.partition("=")[0] in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--config=smoke", "--workdir=X", "--profile_steps=foo"], ["--profile_steps=foo", "FIRST:LAST"]),
        (["train", "--config=nuclei", "--workdir=X"], ["data.root", "--config=nuclei:FOLDER"]),
        (["train", "--config=nuclei:no/folder", "--workdir=X"], ["data.root", "'no/folder'"]),
        (["train", "--config=electrodes_sweep", "--workdir=X"], ["--sweep_index", "0 to 8"]),
        (["preview", "--config=image_folder", "--out=x.png"], ["data.root", "--config=image_folder:FOLDER"]),
        (["eval", "--workdir=no/run"], ["--workdir=no/run ", "config.json"]),
        (["eval", "--workdir=no/run", "--images=x", "--out=y"], ["--workdir=no/run ", "config.json"]),
        (["eval", "--workdir=X", "--split=vla"], ["--split=vla: ", "train, val, test"]),
        (["eval", "--workdir=X", "--tolerance=5"], ["--tolerance is for scores of lengths", "--metrics=boundary"]),
        (["eval", "--workdir=X", "--metrics=boundary", "--unit=mm"], ["--unit=mm: give the size of a pixel in it"]),
        (
            ["eval", "--workdir=X", "--metrics=boundary", "--unit=mm", "--pixel_size=1"],
            ["--unit=mm: --tolerance is in this unit, too"],
        ),
        (["eval", "--workdir=X", "--save=ids"], ["--save is for the prediction of files", "--images"]),
        (["eval", "--workdir=X", "--images=x", "--out=y", "--shard=0.5"], ["--shard=0.5: ", "3/8"]),
        (["predict", "--model=electrodes", "x.png", "--out=y", "--shard=8"], ["--shard=8: ", "$SLURM_ARRAY_TASK_ID/8"]),
        (
            ["predict", "--model=electrodes", "x.png", "--out=y", "--memory=much"],
            ["--memory=much: give a size", "2GiB"],
        ),
        (["eval", "--workdir=X", "--memory=0"], ["--memory=0: give a size", "300MiB"]),
        (["prune", "--workdir=no/run"], ["--workdir=no/run ", "config.json"]),
        (["skips", "--workdir=no/run"], ["--workdir=no/run ", "config.json"]),
        (["measure", "--images=a", "--out=b"], ["--workdir, --model or --truth is missing"]),
        (["measure", "--model=electrodes", "--out=b"], ["--images is missing: a network needs images"]),
        (["measure", "--model=a", "--workdir=b", "--images=c", "--out=d"], ["--workdir and --model both name"]),
        (["measure", "--model=a", "--images=c", "--class_names=x", "--out=d"], ["--class_names and --mask_values"]),
        (["measure", "--truth=a", "--mask_values=x", "--out=d"], ["--mask_values=x: give whole numbers"]),
        (["measure", "--truth=a", "--pixel_size=2", "--out=d"], ["--pixel_size=2.0: give its unit, too"]),
        (["measure", "--truth=a", "--split=x", "--out=d"], ["--split=x is unknown"]),
        (["measure", "--truth=a", "--views=flips", "--out=d"], ["--views is for a network"]),
        (["measure", "--truth=a", "--recursive", "--out=d"], ["--recursive", "--truth alone"]),
        (["measure", "--plates", "--truth=a", "--min_overhang=nan", "--out=d"], ["--min_overhang=nan: give a number"]),
        (["gradients", "--workdir=no/run"], ["--workdir=no/run ", "config.json"]),
        (["reuse", "--workdir=no/run"], ["--workdir=no/run ", "config.json"]),
        (["verify_resume", "--config=em:no/folder", "--workdir=X"], ["data.root", "'no/folder'"]),
    ],
)
def test_a_wrong_flag_is_found_at_once(arguments, words, tmp_path):
    line = error_at_once(tmp_path, *arguments)
    assert all(word in line for word in words)


def error_at_once(tmp_path, *arguments):
    """Returns the line that a program prints before it imports JAX or writes anything."""
    command = [sys.executable, "-c", CALL, *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert done.stdout == "loaded: []\n"
    assert list(tmp_path.iterdir()) == []
    return line
