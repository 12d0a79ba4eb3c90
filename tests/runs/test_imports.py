"""A network that the user's config file adds: trained, opened by other programs, and an error where the file is gone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import unet_jax
from tests.helpers.small_config import small_config
from unet_jax.errors import UserError
from unet_jax.experiment import imports
from unet_jax.experiment.build import create_module
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.encoders.resnet import ResNet
from unet_jax.models.registry import MODELS
from unet_jax.runs import loop
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


def python(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


LOAD = "import sys, unet_jax; p = unet_jax.load(sys.argv[1]); print(type(p.module).__name__, p.module.features)"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache_dir):
    """Trains two steps with the program; returns the config file and the workdir."""
    folder = tmp_path_factory.mktemp("imports")
    config, workdir = folder / "my_config.py", folder / "run"
    (folder / "widths.py").write_text("FEATURES = 3\n")
    config.write_text(NETWORK + CONFIG.format(cache=cache_dir))
    done = python("-m", "unet_jax.programs.train", f"--config={config}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert "note: network" not in done.stdout
    return config, workdir


def test_the_workdir_records_the_file_and_another_program_opens_the_run(trained):
    config, workdir = trained
    assert json.loads((workdir / "config.json").read_text())["imports"] == [str(config)]
    (start,) = json.loads((workdir / "versions.json").read_text())["starts"]
    assert list(start["imports"]) == [str(config), str(config.with_name("widths.py"))]
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
    """Writes a file that adds the network "tiny", and the module that it imports."""
    (tmp_path / "widths.py").write_text("FEATURES = 3\n")
    path = tmp_path / "tiny.py"
    path.write_text(NETWORK)
    return path


def tiny_class(path):
    """Returns the network "tiny" that a file adds."""
    with imports.rows_of([str(path)]):
        return MODELS["tiny"]


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


def test_a_network_that_no_file_adds_is_noted(tiny_file, tmp_path, cache_dir, monkeypatch, capsys):
    monkeypatch.setitem(MODELS, "tiny", tiny_class(tiny_file))
    assert ("network", "tiny") in imports.added_rows()
    train_and_evaluate(tiny_config(cache_dir), tmp_path / "run")
    assert "note: network 'tiny'" in capsys.readouterr().out


def test_a_file_runs_once_and_again_when_it_or_its_module_has_changed(tiny_file):
    first = tiny_class(tiny_file)
    assert tiny_class(tiny_file) is first
    tiny_file.write_text(NETWORK + "# changed\n")
    assert tiny_class(tiny_file) is not first
    # As long as the old one, and written within the same second: Python would take its __pycache__.
    tiny_file.with_name("widths.py").write_text("FEATURES = 5\n")
    assert tiny_class(tiny_file).features == 5


def test_rows_are_in_the_tables_only_while_the_context_is_open(tiny_file):
    unet = MODELS["unet"]
    tiny_file.write_text(NETWORK + 'MODELS["unet"] = Tiny\ndel MODELS["fcn"]\n')
    with imports.rows_of([str(tiny_file)]):
        assert MODELS["unet"] is MODELS["tiny"]
        with imports.rows_of([]):
            assert "tiny" in MODELS
    assert MODELS["unet"] is unet
    assert "fcn" in MODELS
    assert "tiny" not in MODELS


def write_run(path):
    """Writes the record of a run of the network "tiny" that imports a file; returns its workdir."""
    workdir = path.with_name("run")
    workdir.mkdir()
    config = tiny_config("", imports=(str(path),))
    del config.model["features"]
    (workdir / "config.json").write_text(config.to_json())
    facts = {"fingerprint": "", "class_names": ["a"], "channels": 1, "overlapping": False, "palette": [], "splits": {}}
    starts = [{"imports": imports.digests([str(path)])}]
    (workdir / "versions.json").write_text(json.dumps({"data": facts, "starts": starts}))
    return workdir


def test_two_runs_whose_files_add_the_same_name(tiny_file, tmp_path, capsys):
    """Each run gets its own network, in any order, though both files import a module `widths`."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "widths.py").write_text("FEATURES = 4\n")
    other = folder / "tiny.py"
    other.write_text(NETWORK.replace("Tiny", "Other") + 'MODELS["unet"] = Other\n')
    configs = [load_config(write_run(path)) for path in (tiny_file, other)]
    for config, name, features in zip([*configs, configs[0]], ("Tiny", "Other", "Tiny"), (3, 4, 3), strict=True):
        module = create_module(config, ("background", "object"))
        assert (type(module).__name__, module.features) == (name, features)
    assert type(unet_jax.build("unet", num_classes=2)).__name__ == "UNet"
    assert "widths" not in sys.modules
    assert capsys.readouterr().out == ""


def test_a_module_that_changed_is_named(tiny_file, capsys):
    workdir, module = write_run(tiny_file), tiny_file.with_name("widths.py")
    module.write_text("FEATURES = 4\n")
    config = load_config(workdir)
    assert f"warning: imports {module} changed" in capsys.readouterr().out
    assert create_module(config, ("background", "object")).features == 4


def test_a_file_that_no_longer_adds_the_network_is_named(tiny_file):
    workdir = write_run(tiny_file)
    tiny_file.write_text("")
    with pytest.raises(UserError, match=f"{workdir}: imports {tiny_file}: .*network 'tiny'") as error:
        load_config(workdir)
    assert "version" not in str(error.value)


def test_an_encoder_keeps_its_name_for_one_file(tmp_path, monkeypatch):
    """A network looks up its encoder whenever it is traced."""
    code = "from unet_jax.models.encoders.registry import ENCODERS, ResNet\nclass Mine(ResNet): pass\nENCODERS[{!r}] = Mine\n"
    monkeypatch.setitem(ENCODERS, "for this test", None)
    monkeypatch.delitem(ENCODERS, "for this test")
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(code.format("for this test"))
    with imports.rows_of([str(tmp_path / "a.py")]):
        pass
    assert "for this test" in ENCODERS
    with pytest.raises(UserError, match=f"{tmp_path / 'b.py'}.*{tmp_path / 'a.py'}.*'for this test'"):
        imports.digests([str(tmp_path / "b.py")])
    (tmp_path / "b.py").write_text(code.format("resnet34"))
    with pytest.raises(UserError, match=f"{tmp_path / 'b.py'}.*'resnet34'"):
        imports.digests([str(tmp_path / "b.py")])
    assert ENCODERS["resnet34"] is ResNet


@pytest.mark.parametrize(
    ("code", "message"),
    [("\n1 / 0\n", "line 2: ZeroDivisionError"), ("import sys\nsys.exit(3)", "line 2: SystemExit: 3")],
)
def test_a_file_that_fails_is_named(tmp_path, code, message):
    path = tmp_path / "broken.py"
    path.write_text(code)
    before = list(sys.path), list(sys.meta_path)
    with pytest.raises(UserError, match=f"{path}.*{message}"):
        tiny_class(path)
    assert (sys.path, sys.meta_path) == before


def test_the_package_alone_adds_no_row():
    assert imports.added_rows() == set()
    config = small_config("")
    imports.add_config_file(config, __file__)
    assert config.imports == ()
    assert imports.describe_unrecorded(config) == ""


def test_a_training_scores_the_code_that_it_has_trained(tiny_file, tmp_path, cache_dir, monkeypatch, capsys):
    def train_and_edit(run):
        step = train(run)
        # An edit in the meantime.
        tiny_file.write_text("raise SystemExit(3)\n")
        return step

    train = loop.train
    monkeypatch.setattr(loop, "train", train_and_edit)
    train_and_evaluate(tiny_config(cache_dir, imports=(str(tiny_file),)), tmp_path / "run")
    assert (tmp_path / "run/eval/test.json").exists()
    assert "warning: imports" not in capsys.readouterr().out
    with pytest.raises(UserError, match=str(tiny_file)):
        unet_jax.load(tmp_path / "run")


def test_the_run_of_another_network_is_named_before_its_files_are(tiny_file, tmp_path, cache_dir):
    train_and_evaluate(tiny_config(cache_dir, imports=(str(tiny_file),)), tmp_path / "run")
    with pytest.raises(UserError, match=r"model\.name 'tiny' there, 'unet_pp' now"):
        train_and_evaluate(small_config(cache_dir), tmp_path / "run")
