"""Config files by path or by name: finds the file that --config asks for, runs it, and exchanges its network."""

import difflib
import sys
import types
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from unet_jax.configs import default
from unet_jax.errors import UserError

# The configs that the package ships; in a checkout a link to the folder `configs` at its top.
SHIPPED = Path(__file__).parents[1] / "configs"
# The name of a config's module while it runs, as ml_collections calls it.
MODULE = "config_config"


class ConfigFile(NamedTuple):
    """A config file and the argument of its `get_config`; None for no argument."""

    path: Path
    argument: str | None

    def __str__(self) -> str:
        return str(self.path) if self.argument is None else f"{self.path}:{self.argument}"


def shipped_names() -> list[str]:
    """Returns the names of the configs that the package ships, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.py"))


def find_config(text: str) -> ConfigFile:
    """Finds the file that `--config=TEXT` asks for.

    >>> file = find_config("image_folder:scans")
    >>> file.path.name, file.argument
    ('image_folder.py', 'scans')

    Args:
      text: the path of a file or the name of a shipped config, each with ":ARGUMENT" behind it where `get_config` takes
        one. Where a file has the name of a shipped config, it is the file.

    Raises:
      UserError: there is no such file, and no shipped config has that name.
    """
    name, colon, argument = text.partition(":")
    path = Path(name)
    if not path.is_file():
        if name not in shipped_names():
            raise UserError(f"--config={name}: {_not_found(path)}")
        path = SHIPPED / f"{name}.py"
    return ConfigFile(path, argument if colon else None)


def _not_found(path: Path) -> str:
    """Returns what is wrong with a path or name, and what there is in its place."""
    if path.suffix == ".py" or path.name != str(path):
        listed = ", ".join(sorted(map(str, path.parent.glob("*.py")))) or "no .py file"
        return f"no such file; in that folder: {listed}"
    names = shipped_names()
    similar = difflib.get_close_matches(str(path), names, n=1)
    hint = f"did you mean {similar[0]}? " if similar else ""
    return f"no shipped config has that name; {hint}shipped: {', '.join(names)}; a path looks like configs/mine.py"


def load_config(file: ConfigFile) -> ConfigDict:
    """Runs a config file and returns what its `get_config` gives.

    Raises:
      UserError: the file fails, or its `get_config` does not return a `ConfigDict`.
    """
    try:
        module = types.ModuleType(MODULE)
        module.__file__ = str(file.path)
        # A class that the file defines finds its module there.
        sys.modules[MODULE] = module
        exec(compile(file.path.read_bytes(), str(file.path), "exec"), vars(module))
        config = module.get_config(*([] if file.argument is None else [file.argument]))
    except Exception as error:
        raise UserError(f"--config={file}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={file}: get_config() returned {type(config).__name__}; let it return a ConfigDict")
    return config


def exchange_model(config: ConfigDict, name: str) -> None:
    """Replaces the section "model" of a config by that of the network `name` with its default options.

    Raises:
      UserError: there is no network of that name.
    """
    if name not in default.NETWORKS:
        known = ", ".join(default.NETWORKS)
        raise UserError(f"--config.model={name}: no such network; known: {known}")
    config.model = default.NETWORKS[name]()
