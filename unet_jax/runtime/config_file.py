"""Config files by path or by name: finds the file that --config asks for, runs it, and exchanges its network."""

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict, config_dict

from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.runtime.user_file import describe_failure, run_file
from unet_jax.storage.paths import home_expanded

# The configs that the package ships; in a checkout a link to the folder `configs` at its top.
SHIPPED = Path(__file__).parents[1] / "configs"
# The name of a config's module while it runs, as ml_collections calls it.
MODULE = "config_config"


class ConfigFile(NamedTuple):
    """A config file and the argument of its `get_config`; None for no argument."""

    path: Path
    argument: str | None

    def __str__(self) -> str:
        return self._with_argument(str(self.path))

    @property
    def shown(self) -> str:
        """The text to show to the user: a shipped config by its name, any other by its path."""
        return self._with_argument(self.path.stem if self.path.parent == SHIPPED else str(self.path))

    def _with_argument(self, name: str) -> str:
        return name if self.argument is None else f"{name}:{self.argument}"


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
        one. Where a file has the name of a shipped config, it is the file. Of several files, e.g. `a.py` and `a.py:b` for
        `a.py:b`, it is the one with the longest name.

    Raises:
      UserError: there is no such file, and no shipped config has that name.
    """
    # A colon may be a part of the path.
    for end in [len(text), *(i for i in reversed(range(len(text))) if text[i] == ":")]:
        path = home_expanded(text[:end])
        if os.path.isfile(path):
            return ConfigFile(Path(path), text[end + 1 :] if end < len(text) else None)
    name, colon, argument = text.partition(":")
    if name not in shipped_names():
        raise UserError(f"--config={name}: {_not_found(Path(home_expanded(name)))}")
    return ConfigFile(SHIPPED / f"{name}.py", argument if colon else None)


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
    """Runs a config file and returns what its `get_config` gives. The file can import modules of its folder.

    Raises:
      UserError: the file fails, it has no `get_config`, or its `get_config` does not return a `ConfigDict`.
    """
    config = call(file, "get_config", [] if file.argument is None else [file.argument], MODULE)
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config={file.shown}: get_config() returned {type(config).__name__}; let it return a ConfigDict"
        )
    try:
        config.to_dict()
    except (TypeError, config_dict.RequiredValueError) as error:
        # Keys of several types have no order; a required placeholder has no value.
        raise UserError(
            f"--config={file.shown}: the ConfigDict of get_config() cannot be read ({error}); let every key be a string and have a value"
        ) from error
    return ConfigDict(config) if isinstance(config, FrozenConfigDict) else config


def call(file: ConfigFile, function: str, arguments: Sequence[str], module_name: str, *, optional: bool = False) -> Any:
    """Runs a config file and returns what one of its functions gives.

    Args:
      file: the file.
      function: the name of the function.
      arguments: its arguments.
      module_name: the name of the file's module; see `user_file.run_file`.
      optional: returns None for a file without the function, instead of an error.

    Raises:
      UserError: the file or the function fails, or there is no such function.
    """
    try:
        with run_file(file.path, module_name) as run:
            # None where there is no such function.
            called = getattr(run.module, function, None)
            result = None if called is None else called(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UserError(f"--config={file.shown}: {describe_failure(error, file.path)}") from error
    if called is None and not optional:
        raise UserError(f"--config={file.shown}: the file has no function {function}(); add one")
    return result


def exchange_model(config: ConfigDict, name: str, file: str = "the config file") -> None:
    """Replaces the section "model" of a config by that of the network `name` with its default options.

    Args:
      config: the config; it is changed.
      name: the name of the network.
      file: the config file, for the error.

    Raises:
      UserError: there is no network of that name, or it is one of the config file and has no default options.
    """
    if name not in default.NETWORKS:
        # The file may have added it; JAX is not imported for this.
        registry = sys.modules.get("unet_jax.models.registry")
        if registry and name in registry.MODELS:
            raise UserError(
                f"--config.model={name}: the network has no default options (NETWORKS in configs/default.py); write its section "
                f'"model" in get_config() of {file}'
            )
        known = ", ".join(default.NETWORKS)
        raise UserError(f"--config.model={name}: no such network; known: {known}")
    config.model = default.NETWORKS[name]()
