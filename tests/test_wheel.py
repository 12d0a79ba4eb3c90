"""The wheel works alone: built, installed outside the checkout, and used in an empty folder as a new user would."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import unet_jax
from unet_jax.data.datasets.electrodes.render import render

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FILES = ("pyproject.toml", "README.md", "LICENSE")
FOLDERS = ("configs", "unet_jax")
SHORT = ["train.num_steps=2", "train.eval_every=2", "optim.warmup_steps=1", "eval.num_pictures=1"]


def run(*command, cwd=None):
    # With the checkout on the path, pip would take it for the installed package.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=env, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools leaves its own folders next to the sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FILES:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", out)
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment that holds the wheel, and all other packages from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", f"--python={python}", "install", "--no-deps", "--no-index", wheel)
    # After the install, so that pip leaves the checkout's own installation alone. Python adds the folder that a .pth file
    # names, and does not read the .pth files in it: that of an editable installation stays without effect.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(site) / "packages.pth").write_text(sysconfig.get_path("purelib"))
    return folder


@pytest.fixture(scope="module")
def call(installed, tmp_path_factory):
    """Runs a program of that environment in a folder that is empty at first."""
    folder = tmp_path_factory.mktemp("empty")

    def call(program, *arguments):
        return run(installed / "bin" / program, *arguments, cwd=folder)

    call.folder = folder
    return call


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for folder in (ROOT / "unet_jax", ROOT / "unet_jax" / "configs")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == wanted
    assert {"unet_jax/configs/splits/dsb2018.csv", "unet_jax/py.typed", "unet_jax/pretrained/electrodes.npz"} <= names


def test_what_is_imported_is_the_wheels(call, installed):
    code = """
import unet_jax
from unet_jax.configs import default
from unet_jax.data.datasets.splits import find_file
print(unet_jax.__version__, unet_jax.__file__, default.__file__, find_file(default.splits("dsb2018")), sep="\\n")
"""
    version, *files = call("python", "-c", code).split()
    assert version == unet_jax.__version__
    assert len(files) == 3
    assert all(Path(file).is_relative_to(installed) for file in files)


def test_training_scoring_and_predicting_in_an_empty_folder(call, cache_dir):
    assert call("unet-jax", "--version") == f"unet-jax {unet_jax.__version__}\n"
    flags = [f"--config.{change}" for change in [*SHORT, f"data.cache_dir={cache_dir}"]]
    call("unet-jax", "train", "--config=smoke", "--workdir=runs/smoke", *flags)
    call("unet-jax", "eval", "--workdir=runs/smoke", "--split=val")
    assert (call.folder / "runs/smoke/eval/val.json").exists()
    Image.fromarray(render(1, 0, size=(64, 96))["image"][..., 0]).save(call.folder / "scan.png")
    call("unet-jax", "predict", "--model=electrodes", "scan.png", "--out=masks")
    with Image.open(call.folder / "masks/ids/scan.png") as ids:
        assert ids.size == (96, 64)
