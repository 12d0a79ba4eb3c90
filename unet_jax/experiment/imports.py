"""Files of the user that add networks, encoders, losses or data sets to the tables: `config.imports`.

Such a file adds a row when it is run, e.g. `MODELS["tiny"] = Tiny`. A config names the files in `config.imports`. They are
run before anything is built, by the program that trains and by every program that opens the run later. `unet-jax train`
fills in `config.imports` itself where the config file adds a row.
"""

import hashlib
import sys
import types
from collections.abc import Sequence

from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.errors import UserError

# Module and name of each table. The module also has `SHIPPED`, the rows of the package.
TABLES = {
    "network": ("unet_jax.models.registry", "MODELS"),
    "encoder": ("unet_jax.models.encoders.registry", "ENCODERS"),
    "loss": ("unet_jax.training.losses.registry", "LOSSES"),
    "data set": ("unet_jax.data.datasets.registry", "DATASETS"),
}
REMEDY = "put the file back, or give its new path under imports in the config (of a run: in its config.json)"

# The digest of each file that this process has run, by path.
_done: dict[str, str] = {}


def added_rows() -> set[tuple[str, str]]:
    """Returns (kind, name) of each row that the package does not ship, e.g. ("network", "tiny").

    A table whose module is not imported yet has no such row; this function does not import it.
    """
    added = set()
    for kind, (module_name, table) in TABLES.items():
        module = sys.modules.get(module_name)
        if module:
            rows, shipped = getattr(module, table), module.SHIPPED
            added |= {(kind, name) for name in rows if rows[name] is not shipped.get(name)}
    return added


def add_config_file(config: ConfigDict, path: str) -> None:
    """Sets `config.imports` to the config file where rows have been added and the config names no file yet.

    Args:
      config: the config that the file's `get_config` returned; it is changed.
      path: the config file, which has been run.

    Raises:
      UserError: the file cannot be read.
    """
    if added_rows() and not config.get("imports"):
        file = _absolute(path)
        _done[file] = _digest(file)
        with config.unlocked():
            config.imports = (file,)


def run_files(files: Sequence[str]) -> None:
    """Runs the files that this process has not run yet, or that have changed since.

    A file can import modules of its folder. Its `__name__` is not "__main__".

    Args:
      files: paths of Python files.

    Raises:
      UserError: a file cannot be read, or fails.
    """
    for given in files:
        path = _absolute(given)
        digest = _digest(path)
        if _done.get(path) == digest:
            continue
        module = types.ModuleType(f"unet_jax_import_{hashlib.sha256(path.encode()).hexdigest()[:8]}")
        module.__file__ = path
        # A dataclass looks up its module there.
        sys.modules[module.__name__] = module
        folder = str(Path(path).parent)
        sys.path.append(folder)
        try:
            exec(compile(Path(path).read_bytes(), path, "exec"), vars(module))
        except Exception as error:
            raise UserError(f"imports {path}: the file fails ({type(error).__name__}: {error}); correct it") from error
        finally:
            sys.path.remove(folder)
        _done[path] = digest


def digests(files: Sequence[str]) -> dict[str, str]:
    """Returns the sha256 of each file by its absolute path.

    Raises:
      UserError: a file cannot be read.
    """
    return {path: _digest(path) for path in map(_absolute, files)}


def describe_unrecorded(config: ConfigDict) -> str:
    """Returns the rows that the config uses and the package does not ship, e.g. "network 'tiny'"; "" for none."""
    used = {
        ("network", config.model.name),
        ("encoder", config.model.get("encoder", "")),
        ("data set", config.data.name),
    }
    used |= {("loss", name) for name, weight in config.loss.weights.items() if weight}
    return ", ".join(f"{kind} {name!r}" for kind, name in sorted(used & added_rows()))


def _absolute(path: str) -> str:
    local = Path(path).expanduser()
    return str(local if "://" in str(path) else local.absolute())


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"imports {path}: the file cannot be read ({error.strerror or error}); {REMEDY}") from error
