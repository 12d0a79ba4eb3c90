"""--config: a shipped name or a path, a network exchanged as a whole, and keys that flags set after that."""

import re
import sys
import types
from pathlib import Path

import pytest
from absl import flags

from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.experiment.sweep import read_sweep
from unet_jax.models.registry import MODELS
from unet_jax.runtime import cli, user_file
from unet_jax.runtime.config_file import ConfigFile, find_config, load_config, shipped_names

ROOT = Path(__file__).parents[2]


@pytest.fixture
def read(monkeypatch):
    """Returns the flags of a program that is called with some arguments."""

    def read(*arguments):
        values = flags.FlagValues()
        cli.define_config(values)
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        cli.run(lambda: None, "A program.", values)
        return values

    return read


def test_the_shipped_configs_are_those_of_the_project():
    assert shipped_names() == sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


def test_a_name_and_a_path_with_and_without_an_argument(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = find_config("smoke")
    assert file.argument is None
    assert load_config(file).model.widths == (4, 8)
    assert find_config("default:").argument == ""
    assert find_config("image_folder:a/b:nnunet") == ConfigFile(file.path.with_name("image_folder.py"), "a/b:nnunet")
    (tmp_path / "mine.py").touch()
    assert find_config("mine.py:x") == ConfigFile(Path("mine.py"), "x")
    (tmp_path / "smoke").touch()
    assert find_config("smoke").path == Path("smoke")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smok", r"--config=smok: .*did you mean smoke\?.*battery_xray, .*configs/mine\.py"),
        ("mine/smoke.py", r"--config=mine/smoke\.py: .*mine/a\.py, mine/b\.py"),
        ("smoke.py", r"--config=smoke\.py: .*no \.py file"),
    ],
)
def test_what_is_not_there_is_an_error_that_lists_what_is(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in "ab":
        (tmp_path / "mine" / f"{name}.py").touch()
    with pytest.raises(UserError, match=message):
        find_config(text)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", r"no function get_config\(\)"),
        ("def get_config():\n    return {}", "dict.*ConfigDict"),
        ("\n1 / 0", "line 2: ZeroDivisionError"),
        ("import sys\ndef get_config():\n    sys.exit(0)", "line 3: SystemExit: 0"),
        ("def get_config(arg):\n    pass", "TypeError: .*arg"),
        ("from configs import defaults", "'configs.*from unet_jax.configs import default"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, body, message):
    (tmp_path / "mine.py").write_text(body)
    with pytest.raises(UserError, match=rf"mine\.py: .*{message}"):
        load_config(find_config(f"{tmp_path}/mine.py"))


def test_a_wrong_argument_of_a_shipped_config():
    with pytest.raises(UserError, match=r"^--config=default:foo: 'foo'"):
        load_config(find_config("default:foo"))


def test_a_file_imports_the_modules_of_its_folder(tmp_path, monkeypatch):
    """Also within its functions; a module of the same name elsewhere is not taken, and none stays."""
    elsewhere = types.ModuleType("net")
    monkeypatch.setitem(sys.modules, "net", elsewhere)
    for name in ("a", "b"):
        (tmp_path / name / "parts").mkdir(parents=True)
        (tmp_path / name / "net.py").write_text(f"from parts.deep import NAME\nassert NAME == {name!r}\n")
        (tmp_path / name / "parts" / "deep.py").write_text(f"NAME = {name!r}\n")
        (tmp_path / name / "late.py").write_text("from net import NAME\n")
        (tmp_path / name / "mine.py").write_text(
            "import net\nfrom ml_collections import ConfigDict\n\n"
            "def get_config():\n    import late\n    return ConfigDict({'name': late.NAME})\n\n"
            "def get_sweep():\n    import late\n    return [{'name': late.NAME}]\n"
        )
    for name in ("a", "b"):
        file = find_config(f"{tmp_path}/{name}/mine.py")
        assert load_config(file).name == name
        assert read_sweep(file.path) == [{"name": name}]
    assert sys.modules["net"] is elsewhere
    assert {"late", "parts", "parts.deep"}.isdisjoint(sys.modules)
    assert sorted(Path(path).name for path in user_file.runs[str(file.path)].sources) == [
        "deep.py",
        "late.py",
        "mine.py",
        "net.py",
    ]


def test_a_module_of_the_folder_can_define_dataclasses_later(tmp_path):
    """`dataclass` looks up the module of a class that has annotations as texts, and so does Flax."""
    (tmp_path / "net.py").write_text(
        "from __future__ import annotations\nimport dataclasses\n\n"
        "def create():\n    @dataclasses.dataclass\n    class Late:\n        size: int = 3\n    return Late()\n"
    )
    file = tmp_path / "mine.py"
    file.write_text("import net\n")
    with user_file.run_file(file, "test_of_dataclasses") as run:
        pass
    assert run.module.net.create().size == 3
    assert "net" not in sys.modules


def test_a_network_of_the_config_file_has_no_default_options(read, monkeypatch, capsys):
    monkeypatch.setitem(MODELS, "mine", MODELS["unet"])
    with pytest.raises(SystemExit, match="2"):
        read("--config=smoke", "--config.model=mine")
    assert re.search(r"--config\.model=mine: .*NETWORKS.*get_config\(\) of smoke", capsys.readouterr().err)


@pytest.mark.parametrize(
    "changes",
    [
        ["--config.model=fcn", "--config.model.stride=16"],
        ["--config.model.stride=16", "--config.model=fcn"],
        ["-config.model", "fcn", "-config.model.stride", "16"],
    ],
)
def test_a_network_is_exchanged_and_then_changed(read, changes):
    values = (
        read(changes[0], "--config=smoke", *changes[1:]) if changes[0][:2] == "--" else read("-config=smoke", *changes)
    )
    assert values.config.model.to_dict() == {**default.fcn().to_dict(), "stride": 16}
    assert values.config.train.num_steps == 20
    assert set(cli.config_keys(values)) == {"model.name", "model.stride"}
    assert Path(cli.config_file(values)).name == "smoke.py"


def test_every_network_can_be_chosen(read):
    for name, section in default.NETWORKS.items():
        assert read("--config=default", f"--config.model={name}").config.model.to_dict() == section().to_dict()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.model=vnet", "--config.model=vnet: .*unet_pp, unet, fcn, fc_densenet"),
        ("--config.model.stride=8", "--config.model.stride: .*deep_supervision"),
    ],
)
def test_wrong_networks_and_options(read, capsys, flag, message):
    with pytest.raises(SystemExit, match="2"):
        read("--config=smoke", flag)
    assert re.search(message, capsys.readouterr().err)


def test_a_file_that_exists_is_taken_literally(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for name in ("a:b.py", "image_folder:x", "~x.py", "home/mine.py", "*[0].py", "-a.py"):
        (tmp_path / name).write_text(
            "import ml_collections\n\n\ndef get_config(arg='none'):\n    return ml_collections.ConfigDict({'arg': arg})\n"
        )
    for text, path, argument in (
        ("a:b.py", "a:b.py", "none"),
        ("a:b.py:c:d", "a:b.py", "c:d"),
        ("image_folder:x", "image_folder:x", "none"),
        ("~x.py:", "~x.py", ""),
        ("~/mine.py", f"{tmp_path}/home/mine.py", "none"),
        ("*[0].py", "*[0].py", "none"),
        ("-a.py:-c", "-a.py", "-c"),
    ):
        values = read(f"--config={text}")
        assert (cli.config_file(values), values.config.arg) == (path, argument)
    assert find_config(f"image_folder:{'x' * 300}").argument == "x" * 300
