"""A network that the user's config file adds: trained, opened by other programs, and an error where the file is gone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import unet_jax
from tests.helpers.small_config import small_config
from unet_jax.errors import UserError
from unet_jax.experiment import imports
from unet_jax.models.registry import MODELS
from unet_jax.runs.loop import train_and_evaluate
from unet_jax.runs.workdir import load_config

ROOT = Path(__file__).parents[2]
NETWORK = """
import flax.linen as nn
from unet_jax.models.network import Network
from unet_jax.models.registry import MODELS
import widths


class Tiny(Network):
    features: int = widths.FEATURES

    @property
    def multiple(self):
        return 1

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.Conv(self.features, (3, 3), name="conv")(self.pad_to_multiple(images)))
        return (self.head("head")(x),)


MODELS["tiny"] = Tiny
"""
CONFIG = """
from ml_collections import ConfigDict
from tests.helpers.small_config import small_config


def get_config():
    config = small_config({cache!r})
    config.model = ConfigDict({{"name": "tiny", "activation": "softmax", "dtype": "float32", "features": 2}})
    config.train.update({{"num_steps": 2, "eval_every": 2}})
    return config
"""


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


LOAD = "import sys, unet_jax; p = unet_jax.load(sys.argv[1]); print(type(p.module).__name__, p.module.features)"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache_dir):
    """Trains two steps with the program; returns the config file and the workdir."""
    folder = tmp_path_factory.mktemp("imports")
    config, workdir = folder / "my_config.py", folder / "run"
    (folder / "widths.py").write_text("FEATURES = 3\n")
    config.write_text(
        "import sys; sys.path.append(__file__.rpartition('/')[0])\n" + NETWORK + CONFIG.format(cache=cache_dir)
    )
    done = python("-m", "unet_jax.programs.train", f"--config={config}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert "note: network" not in done.stdout
    return config, workdir


def test_the_workdir_records_the_file_and_another_program_opens_the_run(trained):
    config, workdir = trained
    assert json.loads((workdir / "config.json").read_text())["imports"] == [str(config)]
    (start,) = json.loads((workdir / "versions.json").read_text())["starts"]
    assert list(start["imports"]) == [str(config)]
    done = python("-c", LOAD, workdir)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Tiny 2"
    assert "warning" not in done.stdout
    done = python("-m", "unet_jax.programs.eval", f"--workdir={workdir}", "--split=val")
    assert done.returncode == 0, done.stderr


def test_a_file_that_changed_is_named_and_one_that_is_gone_is_an_error(trained):
    config, workdir = trained
    text = config.read_text()
    try:
        config.write_text(text + "\n# changed\n")
        done = python("-c", LOAD, workdir)
        assert done.returncode == 0, done.stderr
        assert f"warning: imports {config}" in done.stdout
        config.unlink()
        done = python("-m", "unet_jax.programs.eval", f"--workdir={workdir}", "--split=val")
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()[-1:]
        assert str(config) in line
        assert f"--workdir={workdir}" in line
    finally:
        config.write_text(text)


@pytest.fixture
def tiny_file(tmp_path):
    """Writes a file that adds the network "tiny"; the row is removed after the test."""
    (tmp_path / "widths.py").write_text("FEATURES = 3\n")
    path = tmp_path / "tiny.py"
    path.write_text(NETWORK)
    yield path
    MODELS.pop("tiny", None)
    sys.modules.pop("widths", None)


def tiny_config(cache_dir, **changes):
    config = small_config(cache_dir)
    namespace: dict = {}
    exec(CONFIG.format(cache=cache_dir), namespace)
    config = namespace["get_config"]()
    config.update(changes)
    return config


def test_a_file_that_moved_resumes_under_its_new_path(tiny_file, tmp_path, cache_dir, monkeypatch, capsys):
    """A relative path is resolved where training starts."""
    monkeypatch.chdir(tmp_path)
    train_and_evaluate(tiny_config(cache_dir, imports=("tiny.py",)), tmp_path / "run")
    assert load_config(tmp_path / "run").imports == (str(tiny_file),)
    moved = tmp_path / "moved.py"
    moved.write_text(tiny_file.read_text() + "# changed\n")
    tiny_file.unlink()
    with pytest.raises(UserError, match=str(tiny_file)):
        unet_jax.load(tmp_path / "run")
    capsys.readouterr()
    train_and_evaluate(tiny_config(cache_dir, imports=(str(moved),)), tmp_path / "run")
    assert f"warning: imports {moved}" in capsys.readouterr().out
    assert type(unet_jax.load(tmp_path / "run").module).__name__ == "Tiny"


def test_a_network_that_no_file_adds_is_noted(tiny_file, tmp_path, cache_dir, capsys):
    imports.run_files([str(tiny_file)])
    assert ("network", "tiny") in imports.added_rows()
    train_and_evaluate(tiny_config(cache_dir), tmp_path / "run")
    assert "note: network 'tiny'" in capsys.readouterr().out


def test_a_file_runs_once_and_again_when_it_has_changed(tiny_file):
    imports.run_files([str(tiny_file)])
    first = MODELS["tiny"]
    imports.run_files([str(tiny_file)])
    assert MODELS["tiny"] is first
    tiny_file.write_text(NETWORK + "# changed\n")
    imports.run_files([str(tiny_file)])
    assert MODELS["tiny"] is not first


def test_a_file_that_fails_is_named(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n")
    with pytest.raises(UserError, match=f"{path}.*ZeroDivisionError"):
        imports.run_files([str(path)])
    assert str(tmp_path) not in sys.path


def test_the_package_alone_adds_no_row():
    assert imports.added_rows() == set()
    config = small_config("")
    imports.add_config_file(config, __file__)
    assert config.imports == ()
    assert imports.describe_unrecorded(config) == ""
