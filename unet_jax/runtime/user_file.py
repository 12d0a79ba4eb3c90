"""Runs a Python file of the user, such as a config file. It can import the modules of its folder, as in `python FILE`.

Each run of a file reads those modules anew, and they get other names in `sys.modules` when it ends. So another file can have
modules of the same names, and a program can run a file again after one of its modules has changed.
"""

import contextlib
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pathlib
import sys
import traceback
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage import paths

PACKAGE = pathlib.Path(__file__).parents[1]


class UserFile(NamedTuple):
    """A file that has been run.

    Attributes:
      path: its absolute path.
      module: its module.
      sources: the sha256 of the file and of each module of its folder that it has imported, by absolute path.
      names: the names of those modules, while the file runs and afterwards.
    """

    path: str
    module: types.ModuleType
    sources: dict[str, str]
    names: set[str]


# The last run of each file in this process, by absolute path.
runs: dict[str, UserFile] = {}


def absolute(path: str | os.PathLike) -> str:
    """Returns the text of `paths.absolute`, by which files are known here."""
    return os.fspath(paths.absolute(path))


@contextlib.contextmanager
def run_file(path: str | os.PathLike, name: str) -> Iterator[UserFile]:
    """Runs a file. The body of the context can call its functions, which can import modules too.

    Args:
      path: the file.
      name: the name of its module, which stays in `sys.modules`: a dataclass looks up its module there.

    Yields:
      The file; its `sources` are complete at the end of the context.

    Raises:
      OSError: the file cannot be read.
    """
    place = absolute(path)
    content = Path(place).read_bytes()
    module = types.ModuleType(name)
    module.__file__ = place
    file = UserFile(place, module, {place: hashlib.sha256(content).hexdigest()}, set())
    with _modules_of_folder(file):
        sys.modules[name] = module
        exec(compile(content, place, "exec"), vars(module))
        yield file
    runs[place] = file


def describe_failure(error: BaseException, path: str | os.PathLike) -> str:
    """Returns what has failed in a file, with the last line of it that ran.

    A `UserError` speaks for itself, and so does a `ValueError` of this package.

    Args:
      error: the exception.
      path: the file.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, UserError) or (isinstance(error, ValueError) and _is_of_package(frames[-1].filename)):
        return _message(error)
    lines = [frame.lineno for frame in frames if frame.filename == absolute(path)]
    place = f"line {lines[-1]}: " if lines else ""
    text = f"{place}{type(error).__name__}: {_message(error)}".removesuffix(": ")
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "configs":
        text += "; write: from unet_jax.configs import default"
    return text


def _message(error: BaseException) -> str:
    """Returns the text of an exception in one line; "" for an exception whose own code fails to give one."""
    try:
        return " ".join(str(error).split())
    except Exception:
        return ""


def _is_of_package(path: str) -> bool:
    # In a checkout `configs` is a link.
    folders = PACKAGE, PACKAGE / "configs"
    return any(pathlib.Path(path).resolve().is_relative_to(folder.resolve()) for folder in folders)


@contextlib.contextmanager
def _modules_of_folder(file: UserFile) -> Iterator[None]:
    """Lets imports find the modules of the file's folder first; afterwards they are as they were."""
    finder = _Finder(os.path.dirname(file.path), file)
    loaded = {name.partition(".")[0] for name in sys.modules}
    hidden_names = {name for name in loaded if finder.is_regular(name)}
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in hidden_names}
    path = list(sys.path)
    for name in hidden:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.path[:] = path
        prefix = f"unet_jax_folder_{hashlib.sha256(file.path.encode()).hexdigest()[:8]}"
        for name in list(file.names):
            # A module that fails is not there.
            if name in sys.modules:
                _rename(sys.modules.pop(name), name, f"{prefix}.{name}")
                file.names.add(f"{prefix}.{name}")
        sys.modules.update(hidden)


def _rename(module: types.ModuleType, name: str, new_name: str) -> None:
    """Renames a module and what it defines: a dataclass, and so each class of Flax, looks up its module later too."""
    sys.modules[new_name] = module
    module.__name__ = new_name
    for value in vars(module).values():
        if isinstance(value, type | types.FunctionType) and value.__module__ == name:
            value.__module__ = new_name


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of a folder, and of the folders that the file has added to `sys.path`.

    The modules of Python and this package come first. All others come after the folder's, as in `python FILE`.
    """

    def __init__(self, folder: str, file: UserFile):
        self.folder, self.file, self.path = folder, file, list(sys.path)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top = fullname.partition(".")[0]
        if top == "unet_jax" or top in sys.stdlib_module_names:
            return None
        if path is None:
            path = [self.folder, *(entry for entry in sys.path if entry not in self.path)]
        elif top not in self.file.names:
            return None
        spec = self._find(fullname, path)
        if spec is None or (spec.loader is None and fullname == top and _is_installed(fullname)):
            return None
        self.file.names.add(fullname)
        return spec

    def is_regular(self, name: str) -> bool:
        """Returns True where the folder has this module as a file, or as a folder with `__init__.py`."""
        if name == "unet_jax" or name in sys.stdlib_module_names:
            return False
        spec = self._find(name, [self.folder])
        return spec is not None and spec.loader is not None

    def _find(self, name: str, path: Iterable[str]) -> importlib.machinery.ModuleSpec | None:
        for entry in path:
            spec = self._in_folder(entry).find_spec(name)
            if spec is not None:
                return spec
        return None

    def _in_folder(self, entry: str) -> importlib.machinery.FileFinder:
        # A new one each time: the one of Python may miss a file of the last second.
        loaders: list[tuple[Any, list[str]]] = [
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (functools.partial(_Loader, self.file.sources), importlib.machinery.SOURCE_SUFFIXES),
        ]
        return importlib.machinery.FileFinder(entry, *loaders)


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads a module from its source, and records the digest of that.

    Python's loader may take an older version from `__pycache__`: it compares only the size of the source and its time in
    whole seconds.
    """

    def __init__(self, sources: dict[str, str], fullname: str, path: str):
        super().__init__(fullname, path)
        self.sources = sources

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        content = self.get_data(path)
        self.sources[path] = hashlib.sha256(content).hexdigest()
        return self.source_to_code(content, path)


def _is_installed(name: str) -> bool:
    """Returns True where a regular module of this name is outside the folder."""
    specs = (finder.find_spec(name, None) for finder in sys.meta_path if not isinstance(finder, _Finder))
    return any(spec is not None and spec.loader is not None for spec in specs)
