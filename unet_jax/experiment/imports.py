"""Files of the user that add networks, encoders, losses or data sets to the tables: `config.imports`.

Such a file adds a row when it is run, e.g. `MODELS["tiny"] = Tiny`. A config names the files in `config.imports`. They are
run before anything is built, by the program that trains and by every program that opens the run later. `unet-jax train`
fills in `config.imports` itself where the config file adds a row.

The rows of a config's files are in the tables only while the parts of that config are built (`rows_of`). So runs whose files
give different networks the same name can be open in one process. An encoder is different: a network looks it up by its
name whenever it is traced, so its row stays.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from unet_jax.errors import UserError
from unet_jax.runtime import user_file
from unet_jax.runtime.user_file import absolute
from unet_jax.storage.digests import file_sha256

# Module and name of each table. The module also has `SHIPPED`, the rows of the package.
TABLES = {
    "network": ("unet_jax.models.registry", "MODELS"),
    "encoder": ("unet_jax.models.encoders.registry", "ENCODERS"),
    "loss": ("unet_jax.training.losses.registry", "LOSSES"),
    "data set": ("unet_jax.data.datasets.registry", "DATASETS"),
}
REMEDY = "put the file back, or give its new path under imports in the config (of a run: in its config.json)"


class ImportsError(UserError):
    """A file of `config.imports` cannot be used."""


# (kind, name) of a row, e.g. ("network", "tiny").
Row = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class _Added:
    """The rows that a file has added, and the sha256 of its sources by path."""

    sources: dict[str, str]
    rows: dict[Row, Any]


# What each file that this process has run has added, by path.
_added: dict[str, _Added] = {}
# The files that a training of this process uses, by path. They are not run again when they change.
_kept: set[str] = set()
# The file of each encoder that a file has added, by name.
_encoder_files: dict[str, str] = {}


def added_rows() -> set[Row]:
    """Returns (kind, name) of each row that the package does not ship, e.g. ("network", "tiny").

    A table whose module is not imported yet has no such row; this function does not import it.
    """
    return set(_new_rows(dict.fromkeys(TABLES)))


def add_config_file(config: ConfigDict, path: str) -> None:
    """Sets `config.imports` to the config file where rows have been added and the config names no file yet.

    Args:
      config: the config that the file's `get_config` returned; it is changed.
      path: the config file, which has been run.

    Raises:
      UserError: the file cannot be read.
    """
    rows = _new_rows(dict.fromkeys(TABLES))
    if rows and not config.get("imports"):
        file = absolute(path)
        run = user_file.runs.get(file)
        _added[file] = _Added(run.sources if run else {file: _digest(file)}, rows)
        with config.unlocked():
            config.imports = (file,)
        _encoder_files.update({name: file for kind, name in rows if kind == "encoder"})


@contextlib.contextmanager
def kept(files: Sequence[str]) -> Iterator[None]:
    """Keeps files as they are now, as long as the context is open: they are not run again when they change.

    So a training scores its network with the code that it has trained.

    Args:
      files: paths of Python files.

    Raises:
      UserError: as `rows_of`.
    """
    paths = set(map(absolute, files))
    for path in paths:
        _run(path)
    _kept.update(paths)
    try:
        yield
    finally:
        _kept.difference_update(paths)


@contextlib.contextmanager
def rows_of(files: Sequence[str]) -> Iterator[None]:
    """Puts the rows that files add into the tables, as long as the context is open.

    A file runs once in a process, and again when it or a module of its folder has changed. A file can import modules of its
    folder. Its `__name__` is not "__main__".

    Args:
      files: paths of Python files. Where two add the same row, the later one counts.

    Raises:
      UserError: a file cannot be read, or fails; or an encoder has the name of another one.
    """
    with contextlib.ExitStack() as stack:
        for path in map(absolute, files):
            rows = _run(path).rows
            stack.callback(_restore, _tables_before(rows))
            _set(rows)
        yield


def digests(files: Sequence[str]) -> dict[str, str]:
    """Returns the sha256 of each file, and of the modules of its folder that it imports, by absolute path.

    They are those of the file's last run in this process. A file that has not run yet is run.

    Raises:
      UserError: as `rows_of`.
    """
    all_digests: dict[str, str] = {}
    for path in map(absolute, files):
        all_digests |= (_added.get(path) or _run(path)).sources
    return all_digests


def check_rows(files: Sequence[str], used: Iterable[Row]) -> None:
    """Checks that the rows that a config uses are in the tables when its files have run.

    Args:
      files: the files that the config imports.
      used: (kind, name) of each row that it uses.

    Raises:
      UserError: as `rows_of`; or a row is missing, and there are files that could have added it.
    """
    if not files:
        return
    with rows_of(files):
        missing = [f"{kind} {name!r}" for kind, name in used if name not in _table(kind)]
    if missing:
        raise ImportsError(
            f"imports {', '.join(map(absolute, files))}: the config uses {', '.join(missing)}, and neither the package nor the "
            "file adds this name; add it to the file, or restore the file"
        )


def used_rows(network: str, encoder: str, data_set: str, losses: Mapping[str, float]) -> list[Row]:
    """Returns (kind, name) of each row that a config uses; a data set of TFDS is the row "tfds:NAME".

    Args:
      network: the name of the network.
      encoder: the name of its encoder; "" for none.
      data_set: the name of the data set.
      losses: the weight of each loss by its name; those of weight 0 are not used.
    """
    used = [("network", network), ("data set", "tfds:NAME" if data_set.startswith("tfds:") else data_set)]
    if encoder:
        used.append(("encoder", encoder))
    return used + [("loss", name) for name, weight in losses.items() if weight]


def describe_unrecorded(config: ConfigDict) -> str:
    """Returns the rows that the config uses and neither the package nor the files of `config.imports` add.

    >>> from unet_jax.configs import default
    >>> describe_unrecorded(default.get_config())
    ''

    Returns:
      For example "network 'tiny'"; "" for none.
    """
    recorded: set[Row] = set()
    for path in map(absolute, config.get("imports", ())):
        recorded |= set(_added[path].rows) if path in _added else set()
    used = used_rows(config.model.name, config.model.get("encoder", ""), config.data.name, config.loss.weights)
    rows = (set(used) & added_rows()) - recorded
    return ", ".join(f"{kind} {name!r}" for kind, name in sorted(rows))


def _run(path: str) -> _Added:
    """Runs a file where that is necessary, and returns what it adds; the tables are as before."""
    last = _added.get(path)
    if last and path in _kept:
        return last
    if last and all(_digest(source, path) == digest for source, digest in last.sources.items()):
        return last
    _digest(path)
    tables = {kind: _loaded_table(kind) for kind in TABLES}
    before = {kind: None if table is None else dict(table) for kind, table in tables.items()}
    rows: dict[Row, Any] = {}
    try:
        with user_file.run_file(path, f"unet_jax_import_{hashlib.sha256(path.encode()).hexdigest()[:8]}") as file:
            pass
        rows = _new_rows(before)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason = user_file.describe_failure(error, path)
        raise ImportsError(f"imports {path}: the file fails ({reason}); correct it") from error
    finally:
        _restore_all(before)
    _check_encoders(path, rows)
    # A module from elsewhere runs once in a process, so a second file that imports it would not get its rows.
    for kind, name in rows:
        if _is_of_another_module(rows[kind, name], file) and name not in _shipped(kind):
            _table(kind)[name] = rows[kind, name]
    _added[path] = _Added(file.sources, rows)
    return _added[path]


def _check_encoders(path: str, rows: dict[Row, Any]) -> None:
    """Raises UserError where a file adds an encoder under a name that has another one."""
    for kind, name in rows:
        if kind != "encoder":
            continue
        table, program = _table(kind), "the package" if name in _shipped(kind) else "the program"
        other = _encoder_files.get(name, program)
        if other != path and name in table and rows[kind, name] is not table[name]:
            raise ImportsError(
                f"imports {path}: {other} has an encoder {name!r} already; give one of them another name"
            )
        _encoder_files[name] = path


def _is_of_another_module(row: Any, file: user_file.UserFile) -> bool:
    """Returns True where a row is defined neither in the file nor in a module of its folder."""
    row = row.func if isinstance(row, functools.partial) else row
    name = getattr(row, "__module__", None)
    return name in sys.modules and name not in file.names and name != file.module.__name__


def _loaded_table(kind: str) -> dict[str, Any] | None:
    module_name, table = TABLES[kind]
    module = sys.modules.get(module_name)
    return getattr(module, table) if module else None


def _table(kind: str) -> dict[str, Any]:
    """Returns a table; imports its module."""
    module_name, table = TABLES[kind]
    return getattr(importlib.import_module(module_name), table)


def _shipped(kind: str) -> dict[str, Any]:
    return importlib.import_module(TABLES[kind][0]).SHIPPED


def _new_rows(before: dict[str, dict | None]) -> dict[Row, Any]:
    """Returns the rows that are not in the tables `before`, where None stands for the package's rows."""
    rows: dict[Row, Any] = {}
    for kind in TABLES:
        table = _loaded_table(kind)
        if table is not None:
            earlier = _earlier(before, kind)
            rows |= {(kind, name): row for name, row in table.items() if row is not earlier.get(name)}
    return rows


def _earlier(before: dict[str, dict | None], kind: str) -> dict[str, Any]:
    earlier = before[kind]
    return _shipped(kind) if earlier is None else earlier


def _restore_all(before: dict[str, dict | None]) -> None:
    for kind in TABLES:
        table = _loaded_table(kind)
        if table is not None:
            earlier = dict(_earlier(before, kind))
            table.clear()
            table.update(earlier)


def _tables_before(rows: Iterable[Row]) -> dict[Row, list]:
    """Returns the present value of each row in a list; an empty list where there is none."""
    return {(kind, name): [_table(kind)[name]] if name in _table(kind) else [] for kind, name in rows}


def _set(rows: dict[Row, Any]) -> None:
    for (kind, name), row in rows.items():
        _table(kind)[name] = row


def _restore(before: dict[Row, list]) -> None:
    for (kind, name), rows in before.items():
        if kind == "encoder":
            continue
        if rows:
            _table(kind)[name] = rows[0]
        else:
            _table(kind).pop(name, None)


def _digest(path: str, importer: str = "") -> str:
    """Returns the sha256 of a file; "" for a module that is gone, as it may have become a folder."""
    try:
        return file_sha256(path)
    except OSError as error:
        if importer and importer != path:
            return ""
        raise ImportsError(f"imports {path}: the file cannot be read ({error.strerror or error}); {REMEDY}") from error
